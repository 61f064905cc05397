"""Runs and the pyramids of classes, for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cfp_onnx.datasets.aggregate import WIDE
from cfp_onnx.datasets.call import Ran
from cfp_onnx.datasets.result import ClassLayer, ClassPyramid, Contrast

if TYPE_CHECKING:
    from rich.tree import Tree

SHOWN = 5
"""Kernels of a layer, and failures of a kind, that are shown."""


def ran_text(found: Ran) -> str:
    """What a call of `dataset` did."""
    run = found.run
    lines = [found.note] if found.note else []
    before = f", {found.before} were done before" if found.before else ""
    lines.append(f"{found.explained} clips explained{before}; {len(run.header.layers)} layers in {run.folders[0].path}")
    if found.left_out:
        lines.append(f"{found.left_out} rows of the manifest have a problem and were not run")
    lines.extend(f"failed ({f.stage}): {f.id}: {f.reason}" for f in found.failures[:SHOWN])
    if len(found.failures) > SHOWN:
        lines.append(f"... and {len(found.failures) - SHOWN} more failed; {run.folders[0].path / 'failures'} has all")
    if found.failures:
        lines.append("--retry-failed tries them again")
    return "\n".join(lines)


def class_tree(found: ClassPyramid) -> Tree:
    """A class's pyramid, depth by depth."""
    from rich.tree import Tree

    against = "" if found.against is None else f", against {found.against}"
    answers = ", ".join(f"{name} {n}" for name, n in list(found.predicted.items())[:SHOWN])
    groups = f" from {found.groups} groups" if found.groups else ""
    enough = found.enough()
    curve = (
        f"{enough} clips rank the kernels as all {found.clips} do (rho .95)"
        if enough is not None
        else f"all {found.clips} clips are needed to rank the kernels (fewer reach less than rho .95)"
    )
    said = "mean share of each clip's strongest kernel of the layer, with its interval of 95 %"
    if found.against is not None:
        said = f"{said}: that of {found.name} less that of {found.against}"
    tree = Tree(
        f"{found.name}{against}: {found.clips} clips{groups}, {found.correct} answered right\n"
        f"answers: {answers}\n{curve}\n{said}"
    )
    depth, branch = None, tree
    for layer in found.layers:
        if layer.depth != depth:
            depth = layer.depth
            branch = tree.add(f"depth {depth}")
        part = branch.add(f"{layer.name}  {len(layer.kernels.share)} kernels")
        for line in _lines(layer) if layer.contrast is None else _contrast_lines(layer.contrast):
            part.add(line)
    return tree


def _lines(layer: ClassLayer) -> list[str]:
    one, stable = layer.kernels, layer.stable()
    lines = []
    for k in stable[:SHOWN]:
        interval = _interval(one.low[k], one.high[k])
        chosen = f"chosen in {100 * one.frequency[k]:.0f} % of the clips, of one sign in {100 * one.agreement[k]:.0f} %"
        lines.append(f"kernel {k:4d}  {_share(one.share[k])} {interval}  {chosen}; most in {layer.relevant.ids[k][0]}")
    if len(stable) > SHOWN:
        lines.append(f"... and {len(stable) - SHOWN} more")
    return lines or ["no kernel is surely for the class"]


def _contrast_lines(contrast: Contrast) -> list[str]:
    score, difference = contrast.score, contrast.difference
    order = np.argsort(-np.abs(score), kind="stable")[:SHOWN]
    ends = WIDE * contrast.error
    return [
        f"kernel {k:4d}  {_share(difference[k])} {_interval(difference[k] - ends[k], difference[k] + ends[k])}"
        for k in order
        if np.isfinite(score[k]) and difference[k] != 0
    ] or ["no difference"]


def _share(value: float) -> str:
    return f"{100 * value:+5.0f} %"


def _interval(low: float, high: float) -> str:
    return f"[{100 * low:+.0f}, {100 * high:+.0f}]" if np.isfinite(low) else "[one group: no interval]"


__all__ = ["class_tree", "ran_text"]
