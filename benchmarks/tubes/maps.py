"""Maps over a clip that are judged: the class's tube, what depths hold, and maps that no network made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.inputs import specs
from cfp_onnx.model import Model
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.relevance.values import Settings

Array = NDArray[Any]

TUBE: Final = "class tube"
HELD: Final = ("held near the head", "held in the middle", "held at the first layer")
"""Maps of depths: the first, the middle and the last that says where."""
RANDOM: Final = "class tube, random weights"
DIFFERENCE: Final = "frame difference"
EDGES: Final = "edges"
BLANK: Final = "blank map"


class Explainer:
    """One session for all clips of a model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.preprocess = Preprocess.of_metadata(model.preprocess)
        self.engine: Engine | None = None

    def __call__(self, clip: Array, label: int, *, depth: int | None = None) -> Pyramid:
        """The pyramid of a class on a clip.

        Args:
            clip: Frames ``(T, H, W, 3) uint8``, or what the network is fed.
            label: The class.
            depth: Deepest level; None for all.
        """
        fed = load_clip(clip, specs(self.model), preprocess=self.preprocess)
        if self.engine is None:
            self.engine = Engine(self.model, fed.feeds)
        settings = Settings(theta=0.6, top_k=None, depth=depth, class_step="contrast", index=label)
        return self.engine.pyramid(fed, settings, rule="positional", labels=None)


def of_network(pyramid: Pyramid) -> dict[str, Array]:
    """The class's tube, and what depths hold, over the clip; `HELD` and every depth by its number."""
    assert pyramid.tubes is not None
    found = {TUBE: pyramid.class_tube()} if pyramid.tubes.of("evidence", "class") else {}
    depths = sorted(t.depth for t in pyramid.tubes.of("relevance", "depth"))
    levels = {depth: pyramid.class_tube(depth) for depth in depths}
    if depths:
        picked = (depths[0], depths[len(depths) // 2], depths[-1])
        found |= {name: levels[depth] for name, depth in zip(HELD, picked, strict=True)}
    return found | {f"depth {depth}": level for depth, level in levels.items()}


def of_frames(frames: Array) -> dict[str, Array]:
    """Maps that no network made; the difference only where there is more than one frame."""
    found = {EDGES: edges(frames), BLANK: np.ones(frames.shape[:3])}
    return found | ({DIFFERENCE: difference(frames)} if len(frames) > 1 else {})


def difference(frames: Array) -> Array:
    """Absolute change from the frame before, summed over colours; the first frame takes the second's."""
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).sum(axis=-1)
    return np.concatenate([change[:1], change])


def edges(frames: Array) -> Array:
    """Length of the slope over height and width, summed over colours."""
    values = frames.astype(np.float32)
    slopes = [np.gradient(values, axis=axis) for axis in (1, 2) if values.shape[axis] > 1]
    return np.asarray(np.sqrt(sum(s**2 for s in slopes)).sum(axis=-1))


def randomised(path: Path, folder: Path, seed: int) -> Path:
    """A copy of a network whose matrices and kernels are drawn anew, as large as they were; vectors are kept.

    Args:
        path: The network.
        folder: Where the copy goes.
        seed: Of the drawing.
    """
    model = onnx.load(path)
    rng = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim > 1 and value.dtype == np.float32:
            drawn = rng.standard_normal(value.shape) * value.std()
            tensor.CopyFrom(numpy_helper.from_array(drawn.astype(np.float32), tensor.name))
    copy = folder / f"{path.stem}-random.onnx"
    onnx.save(model, copy)
    return copy


def judged(own: Explainer, random: Explainer, clip: Array, frames: Array, label: int) -> Mapping[str, Array]:
    """All maps of one class on one clip, by name.

    Args:
        own: The network.
        random: The same with random weights.
        clip: What it is fed.
        frames: The clip with colours last.
        label: The class.
    """
    chance = of_network(random(clip, label, depth=1))
    found = of_network(own(clip, label)) | of_frames(frames)
    return found | ({RANDOM: chance[TUBE]} if TUBE in chance else {})
