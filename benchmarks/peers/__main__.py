"""``python -m benchmarks.peers GRAPH.onnx QUESTIONS.npz ANSWERS.npz``: others' scores for the clips of one network.

Questions hold ``clip/N/INPUT`` arrays, ``classes`` (N,), ``target``, ``axis``, ``tensors`` (L,) and ``axes`` (L,);
answers hold ``METHOD/L``, ``(N, kernels)``, for every method that the network allows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.graph import TorchGraph
from benchmarks.peers.methods import METHODS, WITH_ATTENTION, Question
from benchmarks.peers.zennit_epsilon import suits, zennit_epsilon

Method = Callable[[Question], list[torch.Tensor]]

ZENNIT = "zennit epsilon"


def methods(graph: TorchGraph) -> dict[str, Method]:
    """The methods that a network allows, by name."""
    found = dict(METHODS)
    if any(n.op == "Softmax" and n.inputs[0] in graph.dynamic for n in graph.nodes):
        found |= WITH_ATTENTION
    if suits(graph):
        found[ZENNIT] = zennit_epsilon
    return found


def answer(path: Path, questions: Path, answers: Path) -> None:
    """Ask every method about every clip.

    Args:
        path: The network.
        questions: As the module says.
        answers: Where they go.
    """
    graph = TorchGraph(path)
    with np.load(questions) as asked:
        features = list(zip(asked["tensors"].tolist(), asked["axes"].tolist(), strict=True))
        names = [n.split("/", 2) for n in asked.files if n.startswith("clip/")]
        clips: list[dict[str, torch.Tensor]] = [{} for _ in asked["classes"]]
        for name, number, port in names:
            clips[int(number)][port] = torch.from_numpy(asked[f"{name}/{number}/{port}"])
        target, axis, classes = str(asked["target"]), int(asked["axis"]), asked["classes"].tolist()
    found: dict[str, list[list[torch.Tensor]]] = {name: [] for name in methods(graph)}
    for feeds, index in zip(clips, classes, strict=True):
        question = Question(graph, feeds, index, target, axis, features)
        for name, method in methods(graph).items():
            found[name].append(method(question))
    layers = {name: list(zip(*clips, strict=True)) for name, clips in found.items()}
    np.savez(answers, **{f"{m}/{n}": torch.stack(rows).numpy() for m, r in layers.items() for n, rows in enumerate(r)})


def main(arguments: Sequence[str]) -> int:
    torch.set_num_threads(1)
    path, questions, answers = map(Path, arguments)
    answer(path, questions, answers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
