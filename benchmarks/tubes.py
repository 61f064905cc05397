"""Do class tubes lie on what makes the class? Energy in the mover's mask, and share on the right one of two movers.

``python -m benchmarks.tubes`` explains held-out motion clips of the demonstration network. *Energy* is the share of a
tube's mass that lies in the mover's mask, over the mask's share of the clip (chance 1). On clips with two movers of
different classes, *share* is the mass in the explained mover's mask over the mass in both (chance 0.5).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo_model import DEMO
from benchmarks.motion import clips
from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.inputs import specs
from cfp_onnx.model import Model, load
from cfp_onnx.pyramid import tubes
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.relevance.values import Settings

Array = NDArray[Any]
PUBLISHED = "published, last layer"
DIFFERENCE = "frame difference, no network"


class Explainer:
    """One session for all clips of a model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.preprocess = Preprocess.of_metadata(model.preprocess)
        self.engine: Engine | None = None

    def __call__(self, frames: Array, label: int, *, rule: str = "positional", theta: float = 0.6) -> Pyramid:
        """The pyramid of a class on frames ``(T, H, W, 3) uint8``, all depths."""
        clip = load_clip(frames, specs(self.model), preprocess=self.preprocess)
        if self.engine is None:
            self.engine = Engine(self.model, clip.feeds)
        step = "weights" if rule == "published" else "contrast"
        settings = Settings(theta=theta, top_k=None, depth=None, class_step=step, index=label)
        return self.engine.pyramid(clip, settings, rule=rule, labels=None)


def class_tubes(pyramid: Pyramid) -> dict[str, Array]:
    """The class's relevance tube of every depth over the clip, by name."""
    assert pyramid.tubes is not None
    return {f"depth {t.depth}": t.at(pyramid.tubes.size) for t in pyramid.tubes.of("relevance", "depth")}


def published_tube(pyramid: Pyramid) -> Array:
    """Activation of what the class reads, its chosen kernels weighted by the published class step."""
    assert pyramid.tubes is not None
    chosen = {(n, k): max(r, 0.0) for n, k, r in pyramid.kernels(1)}
    mine = [t for t in pyramid.tubes.of("activation", "kernel") if (t.layer, t.kernel) in chosen]
    return tubes.weighted_activation([(t, chosen[t.layer or "", t.kernel or 0]) for t in mine], layer=None).at(
        pyramid.tubes.size
    )


def difference(frames: Array) -> Array:
    """Absolute change from the frame before, summed over colours; the first frame takes the second's."""
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).sum(axis=-1)
    return np.concatenate([change[:1], change])


def energy(tube: Array, mask: Array) -> float:
    """Share of the mass inside a mask over the share of the clip that the mask takes."""
    positive = np.maximum(tube, 0.0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total / float(mask.mean()) if total > 0 and mask.any() else float("nan")


def share(tube: Array, own: Array, other: Array) -> float:
    """Mass in one mask over the mass in both."""
    positive = np.maximum(tube, 0.0)
    inside, outside = float(positive[own].sum()), float(positive[other].sum())
    return inside / (inside + outside) if inside + outside > 0 else float("nan")


def measure(model: Model, count: int, first_seed: int = clips.TEST_SEED) -> dict[str, dict[str, list[float]]]:
    """Energy and share of every map, clip by clip: name to ``energy`` and ``share``."""
    explain = Explainer(model)
    found: dict[str, dict[str, list[float]]] = {}

    def note(name: str, what: str, value: float) -> None:
        found.setdefault(name, {"energy": [], "share": []})[what].append(value)

    for seed in range(first_seed, first_seed + count):
        one = clips.make_clip(seed)
        maps = class_tubes(explain(one.frames, one.label))
        maps[PUBLISHED] = published_tube(explain(one.frames, one.label, rule="published"))
        maps[DIFFERENCE] = difference(one.frames)
        for name, tube in maps.items():
            note(name, "energy", energy(tube, one.mask))
        two = clips.make_two_movers(seed)
        for side, label in enumerate(two.labels):
            maps = class_tubes(explain(two.frames, label))
            maps[PUBLISHED] = published_tube(explain(two.frames, label, rule="published"))
            maps[DIFFERENCE] = difference(two.frames)
            for name, tube in maps.items():
                note(name, "share", share(tube, two.masks[side], two.masks[1 - side]))
    return found


def markdown(found: dict[str, dict[str, list[float]]]) -> str:
    """A table with one row per map."""
    rows = ["| map | energy in the mask (chance 1) | share on the right mover (chance .5) |", "|---|---|---|"]
    for name, values in found.items():
        rows.append(f"| {name} | {np.nanmean(values['energy']):.2f} | {np.nanmean(values['share']):.3f} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="another network for motion clips")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found = measure(load(options.model or DEMO), options.clips)
    print(markdown(found))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
