"""What to say of a network without a convolution or dense layer."""

from __future__ import annotations

from cfp_onnx.model import Program

_OTHER_MODELS = {
    "TreeEnsemble": "a tree ensemble",
    "SVM": "a support vector machine",
    "LinearClassifier": "a linear model whose coefficients are all there is to know",
    "LinearRegressor": "a linear model whose coefficients are all there is to know",
}
"""Beginnings of operators that are a whole model of another kind, and what it is."""

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def without_layers(program: Program) -> str:
    """Why there is nothing to trace, in a sentence that begins with the file."""
    path = program.model.path
    for node in program.nodes:
        operator = node.op.removeprefix("ai.onnx.ml::")
        if operator == node.op:
            continue
        for beginning, what in _OTHER_MODELS.items():
            if operator.startswith(beginning):
                return f"{path}: this is {what} ({operator}): it has no layers of kernels, so there is nothing to trace"
    inputs = {p.name for p in program.model.inputs}
    for node in program.nodes:
        given = [i for i in node.inputs[1:2] if i in inputs]
        if node.op in _PRODUCTS and given:
            return (
                f"{path}: the weights of {node.op} {node.name!r} are an input of the model ({given[0]!r}); "
                "export it with its weights inside the file"
            )
    return (
        f"{path}: no convolution and no dense layer with weights; there are no kernels to rank. Give a neural network, "
        "exported with its weights inside"
    )


__all__ = ["without_layers"]
