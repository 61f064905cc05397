"""NVIDIA TAO action recognition: class/video/rgb/000000.png."""

from __future__ import annotations

from dataclasses import replace

from cfp_onnx.clips.manifest import Manifest
from cfp_onnx.datasets.layouts import folder
from cfp_onnx.datasets.layouts.tree import Asked, checked


def read(asked: Asked) -> Manifest:
    """The folder layout, each clip's frames in its folder ``rgb``."""
    found = folder.read(asked)
    rows = [
        replace(r, path=f"{r.path}/rgb", problem=r.problem if "not among" in (r.problem or "") else None)
        for r in found.rows
    ]
    return replace(found, dataset="tao", rows=checked(asked.root, rows))


__all__ = ["read"]
