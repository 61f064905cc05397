"""Two files of one network: do they compute the same, and if not, where does the first difference lie?

Numbers decide: the inputs and outputs of each layer on the same clips, kernel by kernel under the alignment. Weights,
windows and wires explain a difference, and show differences to which these clips happen to be blind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.clips.clip import Source
from cfp_onnx.clips.lists import clips_in
from cfp_onnx.clips.manifest import SUFFIX
from cfp_onnx.comparison.assemble import assembled
from cfp_onnx.comparison.observed import ClipRequest, observe
from cfp_onnx.comparison.result import Comparison
from cfp_onnx.comparison.side import Sides
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.labels import fitted_labels
from cfp_onnx.explanation.options import deepest
from cfp_onnx.explanation.shared_clip import ModelInputs, read_both
from cfp_onnx.model import Model, load
from cfp_onnx.values import Progress

if TYPE_CHECKING:
    from cfp_onnx.clips.preprocess import Preprocess


def compare(
    a: Model | str | os.PathLike[str],
    b: Model | str | os.PathLike[str],
    clips: Source | Sequence[Source],
    *,
    target: int | str | None = None,
    output: str | None = None,
    tolerance: float | None = None,
    theta: float = 0.6,
    depth: int | str = "all",
    layout: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    preprocess_b: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    tubes: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two files of one network on clips.

    Args:
        a: A model or its path.
        b: The other.
        clips: One clip or several (see `cfp_onnx.clips.load.load_clip`), or manifests; arrays have the first model's
            layout.
        target: Class whose relevance is compared; the first model's top-1 class on the first clip by default.
        output: Output to compare; of several the one with classes by default.
        tolerance: Largest difference, as part of the largest value, that counts as the same; by default it depends
            on the numbers that the files keep (`TOLERANCE`).
        theta: Threshold of chosen kernels.
        depth: Deepest level whose relevance and tubes are compared, or ``"all"``; outputs and weights are compared
            everywhere.
        layout: Axes of an input, where they are ambiguous.
        labels: Class names; the first model's metadata by default.
        preprocess: How footage becomes input; each model's metadata by default.
        preprocess_b: The same for the second model, where it differs.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over.
        tubes: Whether tubes are compared.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    if tolerance is not None and not 0.0 < tolerance < np.inf:
        raise UsageError(f"tolerance is {tolerance}, it must be above 0")
    if not 0.0 <= theta <= 1.0:
        raise UsageError(f"theta is {theta}, it must lie between 0 and 1")
    levels = deepest(depth)
    one, two = (m if isinstance(m, Model) else load(m) for m in (a, b))
    takers = ModelInputs.of(one, preprocess), ModelInputs.of(two, preprocess_b or preprocess)
    listed = _listed(clips)
    sides = Sides((one, two), runtime.Device(device, threads), output, barriers, keep=len(listed) > 1)
    wanted = ClipRequest(target, labels if labels is not None else one.labels, levels, tubes)
    found = None
    for n, source in enumerate(listed):
        if progress is not None:
            progress("comparing", n, len(listed))
        read = read_both(source, *takers, layout=layout)
        one_side, other_side = sides.at(read)
        wanted = replace(wanted, labels=fitted_labels(wanted.labels, one_side.engine.classes()[0], one.path)[0])
        found = observe(one_side, other_side, read, wanted, found)
    if found is None:
        raise UsageError("there is no clip to compare on; give at least one")
    return assembled(*sides.at(read), found, wanted, tolerance=tolerance, theta=theta)


def _listed(clips: Source | Sequence[Source]) -> list[Source]:
    given = [clips] if isinstance(clips, str | os.PathLike | np.ndarray | Mapping) else list(clips)
    out: list[Source] = []
    for clip in given:
        if isinstance(clip, str | os.PathLike) and str(clip).lower().endswith(SUFFIX):
            out += [found.file for found in clips_in([clip])]
        else:
            out.append(clip)
    return out


__all__ = ["compare"]
