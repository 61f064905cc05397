"""What the options of a clip say about its preprocessing."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cfp_onnx.errors import UsageError

if TYPE_CHECKING:
    from cfp_onnx.clips.preprocess import Preprocess
    from cfp_onnx.model import Model


def preprocess_of(model: Model, options: argparse.Namespace) -> Preprocess | None:
    """Options over a preset or file over the model's metadata; None leaves it to the model.

    Raises:
        UsageError: If the preset is unknown, the file cannot be read, or an option contradicts the model.
    """
    from cfp_onnx.clips.preprocess import Preprocess

    base = named_preprocess(options)
    names = ("frames", "stride", "start", "end", "view_clips", "view_crops", "size", "mean", "std")
    given = {k: getattr(options, k) for k in names if getattr(options, k) is not None}
    if base is None and not given:
        return None
    if base is None:
        base = Preprocess.of_metadata(model.preprocess)
    if base.yields and {"frames", "size"} & set(given):
        base = _fitted(base, model, options.layout)
    if "size" in given and base.size is not None and base.short_side is not None:
        sides = (min(given["size"]), min(base.size))
        given["short_side"] = max(sides[0], round(base.short_side * sides[0] / sides[1]))
    return replace(base, **given)


def named_preprocess(options: argparse.Namespace) -> Preprocess | None:
    """The preset or the file of preprocessing that was named.

    Raises:
        UsageError: If the preset is unknown or the file cannot be read.
    """
    from cfp_onnx.clips.preprocess import Preprocess
    from cfp_onnx.clips.presets import PRESETS

    if options.preset is not None and options.preset not in PRESETS:
        raise UsageError(f"preset {options.preset!r} is unknown; choose one of {', '.join(PRESETS)}")
    if options.preset is not None:
        return PRESETS[options.preset]
    return None if options.preprocess is None else Preprocess.from_json(_json_file(options.preprocess))


def _fitted(base: Preprocess, model: Model, layout: str | None) -> Preprocess:
    """A preset at the sizes that the model fixes, so that an option which contradicts them is an error."""
    from cfp_onnx.clips.layout import layout_of
    from cfp_onnx.explanation.inputs import specs

    spec = specs(model)[0]
    return base.fitted(spec, layout_of(spec, layout or base.layout))


def _json_file(file: str) -> object:
    from cfp_onnx.files.strict_json import parse

    try:
        return parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read preprocessing from {file}: {error}") from error


__all__ = ["named_preprocess", "preprocess_of"]
