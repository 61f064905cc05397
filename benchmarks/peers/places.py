"""``python -m benchmarks.peers.places GRAPH.onnx QUESTIONS.npz ANSWERS.npz``: others' maps of where, over the clip.

Questions hold ``clip/N`` arrays for the one input, ``classes`` (N,), and of the last map that has places its ``tensor``
and ``axis``, empty where there is none. Answers hold ``Grad-CAM/N`` on that map's own grid, and ``integrated
gradients/N`` at the clip, both (t, h, w).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers.graph import TorchGraph

STEPS = 16
"""Midpoints of integrated gradients, from a clip of zeros."""


def grad_cam(graph: TorchGraph, clip: Tensor, index: int, tensor: str, axis: int) -> Tensor:
    """Mean gradient of each kernel's map times the map, summed over kernels (Selvaraju et al. 2017).

    Args:
        graph: The network.
        clip: What it is fed.
        index: The class.
        tensor: The map.
        axis: Its kernels' axis.
    """
    found, logit = _run(graph, clip, index)
    (gradient,) = torch.autograd.grad(logit.sum(), found[tensor])
    axes = [a for a in range(1, gradient.ndim) if a != axis]
    weights = gradient.mean(dim=axes, keepdim=True)
    return (weights * found[tensor]).sum(dim=axis)[0].detach()


def integrated_gradients(graph: TorchGraph, clip: Tensor, index: int) -> Tensor:
    """Gradients along the straight line from zeros, times the clip, summed over colours (Sundararajan et al. 2017)."""
    total = torch.zeros_like(clip)
    for step in (torch.arange(STEPS) + 0.5) / STEPS:
        found, logit = _run(graph, step * clip, index)
        total += torch.autograd.grad(logit.sum(), found[_input(graph)])[0]
    return (total / STEPS * clip).sum(dim=1)[0]


def _input(graph: TorchGraph) -> str:
    made = {o for node in graph.nodes for o in node.outputs}
    (name,) = graph.dynamic - made
    return name


def _run(graph: TorchGraph, clip: Tensor, index: int) -> tuple[dict[str, Tensor], Tensor]:
    found = dict(graph.run({_input(graph): clip.clone().requires_grad_()}))
    return found, found[graph.nodes[-1].outputs[0]].reshape(clip.shape[0], -1)[:, index]


def main(arguments: Sequence[str]) -> int:
    torch.set_num_threads(1)
    path, questions, answers = map(Path, arguments)
    graph, found = TorchGraph(path), {}
    with np.load(questions) as asked:
        tensor, axis = str(asked["tensor"]), int(asked["axis"])
        for n, index in enumerate(asked["classes"].tolist()):
            clip = torch.from_numpy(asked[f"clip/{n}"]).float()
            if tensor:
                found[f"Grad-CAM/{n}"] = grad_cam(graph, clip, index, tensor, axis).numpy()
            found[f"integrated gradients/{n}"] = integrated_gradients(graph, clip, index).numpy()
    np.savez(answers, **found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
