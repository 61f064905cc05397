"""One clip as two networks take it: the same frames or numbers, each in its own layout and by its own input names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cfp_onnx.clips.clip import Clip, Source
from cfp_onnx.clips.layout import layout_of
from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.clips.spec import InputSpec
from cfp_onnx.errors import CfpError, ClipError, ModelError, UsageError
from cfp_onnx.explanation.inputs import specs
from cfp_onnx.model import Model
from cfp_onnx.values import Array

if TYPE_CHECKING:
    from cfp_onnx.clips.spec import InputSpec


@dataclass(frozen=True)
class ModelInputs:
    """What a network takes.

    Attributes:
        name: Its file, for sentences.
        inputs: Its inputs.
        preprocess: How footage becomes an input.
    """

    name: str
    inputs: tuple[InputSpec, ...]
    preprocess: Preprocess

    @classmethod
    def of(cls, model: Model, preprocess: Preprocess | None = None) -> ModelInputs:
        """What a model takes, with the preprocessing given or else its own."""
        if preprocess is None:
            preprocess = Preprocess.of_metadata(model.preprocess)
        return cls(str(model.path), tuple(specs(model)), preprocess)

    def layout(self, requested: str | None) -> str | None:
        """The layout asked for, where this network can have it, else that of its preprocessing."""
        if requested is None:
            return self.preprocess.layout
        try:
            return layout_of(self.inputs[0], requested)
        except CfpError:
            return self.preprocess.layout


def read_both(source: Source, a: ModelInputs, b: ModelInputs, *, layout: str | None = None) -> tuple[Clip, Clip]:
    """A clip for the first and for the second network.

    Args:
        source: The clip; arrays have the first network's layout.
        a: The first network.
        b: The second.
        layout: Axes of an input, where they are ambiguous.

    Raises:
        UsageError: If the networks have different numbers of inputs.
        ClipError: If one of them cannot take the clip.
    """
    if len(a.inputs) != len(b.inputs):
        raise UsageError(
            f"{a.name} has {len(a.inputs)} inputs and {b.name} has {len(b.inputs)}; only networks with the same input "
            "can be compared"
        )
    here, there = a.layout(layout), b.layout(layout)
    if layout is not None and layout.upper() not in {here, there}:
        here = layout  # which is refused in a sentence
    clip = load_clip(source, a.inputs, preprocess=a.preprocess, layout=here)
    if clip.frames is not None:
        return clip, load_clip(source, b.inputs, preprocess=b.preprocess, layout=there)
    handed = _turned(clip, a.inputs, b.inputs, there)
    try:
        return clip, load_clip(handed, b.inputs, preprocess=b.preprocess, layout=there)
    except ClipError as error:
        raise ClipError(f"{b.name} cannot take what {a.name} takes: {error}") from error


def partners(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, str]]:
    """Inputs of both files that belong together: by name, else by place."""
    return [(n, n if n in theirs else theirs[i]) for i, n in enumerate(ours)]


def _turned(
    clip: Clip, ours: Sequence[InputSpec], theirs: Sequence[InputSpec], layout: str | None
) -> Array | dict[str, Array]:
    """The first model's arrays by the second's names, with their axes in its order where both orders are known."""
    specs_of = {s.name: s for s in theirs}
    out: dict[str, Array] = {}
    for spec, (name, other) in zip(ours, partners([s.name for s in ours], list(specs_of)), strict=True):
        array = clip.feeds[name]
        try:
            here = clip.layout if spec is ours[0] and clip.layout else layout_of(spec)
            there = layout_of(specs_of[other], layout if specs_of[other] is theirs[0] else None)
        except (UsageError, ModelError):
            here = there = ""
        if here != there and sorted(here) == sorted(there):
            array = np.ascontiguousarray(array.transpose([here.index(letter) for letter in there]))
        out[other] = array
    return out if len(out) > 1 else next(iter(out.values()))


__all__ = ["ModelInputs", "partners", "read_both"]
