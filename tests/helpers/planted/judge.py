"""The authorities on planted circuits: removal of kernels by the plain runtime, and what each rule says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import text_net
from onnx import TensorProto, helper

from cfp_onnx.explanation import pooled_run
from cfp_onnx.explanation.values import Request
from cfp_onnx.relevance.rules import rule_named
from cfp_onnx.relevance.values import Settings
from cfp_onnx.values import silent
from planted.values import FIELDS, Array, Plant, Written
from planted.writer import Feature

THETA = 0.6
"""What the published rule expands: kernels of at least this share of the strongest, as it does by default."""

Vector = npt.NDArray[np.float64]


# Removal.


class Removal:
    """Kernels set to zero in a copy of the file, and all behind them computed again by the plain runtime.

    Args:
        found: The circuit.
    """

    def __init__(self, found: Written) -> None:
        self._feeds = found.feeds
        self._features = {plant.layer: found.features[plant.layer] for plant in found.circuit.plants}
        model = onnx.ModelProto()
        model.CopyFrom(found.model)
        half = any(t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer)
        self._kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        for name, feature in self._features.items():
            self._mask(model.graph, name, feature)
        del model.graph.output[:]
        model.graph.output.append(helper.make_empty_tensor_value_info(found.logits))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def _mask(self, graph: onnx.GraphProto, name: str, feature: Feature) -> None:
        """Multiply a feature by an input of the layer's name, one factor for each channel of its tensor."""
        place = next(i for i, n in enumerate(graph.node) if feature.tensor in n.output)
        node = graph.node[place]
        outputs = [f"{n} without {name}" if n == feature.tensor else n for n in node.output]
        del node.output[:]
        node.output.extend(outputs)
        whole = next(n for n in outputs if n.endswith(name))
        graph.node.insert(place + 1, helper.make_node("Mul", [whole, f"mask of {name}"], [feature.tensor]))
        shape = [1] * feature.rank
        shape[feature.axis] = feature.before + feature.kernels + feature.behind
        graph.input.append(helper.make_tensor_value_info(f"mask of {name}", self._kind, shape))

    def scores(self, clip: Array | None = None, *, without: tuple[str, int] | None = None) -> Vector:
        """Scores of the classes, (classes,).

        Args:
            clip: Another clip than the circuit's own.
            without: Layer and number of a kernel that is removed.
        """
        feeds = self._feeds if clip is None else {"clip": clip}
        for name, f in self._features.items():
            mask = np.ones(f.before + f.kernels + f.behind, helper.tensor_dtype_to_np_dtype(self._kind))
            if without is not None and without[0] == name:
                mask[f.before + without[1]] = 0
            feeds = {**feeds, f"mask of {name}": mask.reshape([-1 if a == f.axis else 1 for a in range(f.rank)])}
        return np.asarray(self._session.run(None, feeds)[0], np.float64).reshape(-1)

    def falls(self, layer: str) -> Vector:
        """How far the score of class 0 less the mean of the others falls without each kernel, (kernels,)."""
        whole = _margin(self.scores())
        count = self._features[layer].kernels
        return np.array([whole - _margin(self.scores(without=(layer, k))) for k in range(count)])


def _margin(values: Vector) -> float:
    return float(values[0] - values[1:].mean())


# Rules.


class Ranked:
    """What the rules say of one written circuit.

    Args:
        found: The circuit.
        folder: Where its file is written.
    """

    def __init__(self, found: Written, folder: Path) -> None:
        self._feeds = found.feeds
        self.engine = text_net.engine_of(found.model, folder, feeds=found.feeds)
        self._layers = {layer.name: layer.index for layer in self.engine.topology.layers}
        self._features = found.features
        self._known: dict[tuple[str, tuple[str, ...] | None], dict[str, Vector]] = {}

    def relevance(self, rule: str, hold: tuple[str, ...] | None = None) -> dict[str, Vector]:
        """Relevance of every kernel by layer, as far as the rule reaches.

        Args:
            rule: One of `planted.values.RULES`.
            hold: What is held; by default what the rule holds by itself.
        """
        if (rule, hold) not in self._known:
            self._known[rule, hold] = self._relevance(rule, hold)
        return self._known[rule, hold]

    def _relevance(self, rule: str, hold: tuple[str, ...] | None) -> dict[str, Vector]:
        if rule in FIELDS:
            by_index = self.engine.relevance(self._feeds, 0, rule=rule, hold=hold)
        else:
            row = rule_named(rule)
            settings = Settings(THETA, None, None, row.default_step, 0)
            request = Request(
                self._feeds, row, settings, self.engine.network.target_classes(), rather=(), collector=None,
                volumes=False, pulled=False, progress=silent,
            )  # fmt: skip
            by_index = pooled_run.run(self.engine.sessions, request).walked.relevance
        found = {}
        for name, feature in self._features.items():
            index = self._layers[feature.layer or name]
            if index in by_index:
                found[name] = by_index[index][feature.before : feature.before + feature.kernels]
        return found


# Judgement.


def lead(values: Vector, plant: Plant) -> float:
    """How far the planted kernels lie beyond all others, in units of the largest; above 0 where they are found."""
    leads = []
    for kernels, side in ((plant.kernels, values), (plant.against, -values)):
        if kernels:
            mine, others = side[list(kernels)], np.delete(side, kernels)
            largest = float(mine.max())
            leads.append((float(mine.min()) - float(others.max(initial=0.0))) / largest if largest > 0 else -np.inf)
    return min(leads)


def finds(values: Vector | None, plant: Plant) -> bool:
    """Whether a ranking puts the planted kernels on top, and those against at the bottom; a tie does not."""
    return values is not None and lead(values, plant) > 0.02


__all__ = ["Ranked", "Removal", "Vector", "finds", "lead"]
