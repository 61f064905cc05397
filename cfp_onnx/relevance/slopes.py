"""Slopes of functions that are steps of a formula: roots, powers, quotients, exponentials.

Where such a step only steers (the deviation of a norm that is written out, the exponential of a Softmax), its part is
exact by its slope; a share of its value would be wrong by the power.
"""

from __future__ import annotations

from cfp_onnx.graph import effects as fx
from cfp_onnx.model import Node
from cfp_onnx.relevance.norms import quotient
from cfp_onnx.runtime.probe import Values


def steered(values: Values, node: Node, effect: fx.Activation, g: str) -> str:
    """Field of the input of an arithmetic step.

    Args:
        values: Tensors of the model as float32.
        node: The step: Exp, Sqrt, Log, Reciprocal, Pow with a constant exponent, a constant over a tensor, or an
            activation of a recurrent layer.
        effect: Its effect.
        g: Field of its output.
    """
    probe, y = values.probe, values(node.outputs[0])
    x = values(node.inputs[effect.source])
    match node.op:
        case "Sigmoid":
            return probe.add("Mul", [g, probe.add("Mul", [y, probe.add("Sub", [probe.number(1.0), y])])])
        case "Tanh":
            return probe.add("Mul", [g, probe.add("Sub", [probe.number(1.0), probe.add("Mul", [y, y])])])
        case "Relu" | "ThresholdedRelu":
            return probe.mask(probe.add("Greater", [y, probe.number(0.0)]), g)
        case "LeakyRelu":
            alpha = probe.number(float(node.attributes.get("alpha", 0.01)))
            above = probe.add("Greater", [x, probe.number(0.0)])
            return probe.add("Mul", [g, probe.where(above, probe.number(1.0), alpha)])
        case "Elu":
            alpha = probe.number(float(node.attributes.get("alpha", 1.0)))
            above = probe.add("Greater", [x, probe.number(0.0)])
            return probe.add("Mul", [g, probe.where(above, probe.number(1.0), probe.add("Add", [y, alpha]))])
        case "Softplus":
            return probe.add("Mul", [g, probe.add("Sigmoid", [x])])
        case "Softsign":
            less = probe.add("Sub", [probe.number(1.0), probe.add("Abs", [y])])
            return probe.add("Mul", [g, probe.add("Mul", [less, less])])
        case "HardSigmoid":
            steep = probe.number(float(node.attributes.get("alpha", 0.2)))
            inside = probe.add("And", [
                probe.add("Greater", [y, probe.number(0.0)]), probe.add("Less", [y, probe.number(1.0)]),
            ])  # fmt: skip
            return probe.mask(inside, probe.add("Mul", [g, steep]))
        case "Exp":
            return probe.add("Mul", [g, y])
        case "Sqrt":
            half = probe.add("Mul", [g, probe.number(0.5)])
            return quotient(probe, half, y)
        case "Log":
            return quotient(probe, g, x)
        case "Reciprocal" | "Div":
            return probe.add("Neg", [quotient(probe, probe.add("Mul", [g, y]), x)])
        case "Pow":
            exponent = values(node.inputs[1])
            less = probe.add("Pow", [x, probe.add("Sub", [exponent, probe.number(1.0)])])
            return probe.add("Mul", [g, probe.add("Mul", [exponent, less])])
    raise ValueError(f"operator {node.op} has no slope here")


__all__ = ["steered"]
