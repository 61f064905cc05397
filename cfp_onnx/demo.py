"""The built-in model on the built-in clip, end to end."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from cfp_onnx.errors import ModelError
from cfp_onnx.explanation.call import explain
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.values import Progress


def run_demo(out: Path, progress: Progress | None = None) -> tuple[Pyramid, Path]:
    """Explain the built-in clip at every depth.

    Args:
        out: Folder for the report and what belongs to it; made where it is missing.
        progress: Told how far the work is.

    Returns:
        The pyramid and its report.

    Raises:
        ModelError: If this installation lacks its data.
        OutputError: If the folder cannot be written to.
    """
    data = resources.files("cfp_onnx") / "data"
    model, clip = data / "demo.onnx", data / "demo_clip.npz"
    for part in (model, clip):
        if not part.is_file():
            raise ModelError(f"this installation lacks {part}; install cfp-onnx again")
    with resources.as_file(model) as model_file, resources.as_file(clip) as clip_file:
        pyramid = explain(model_file, clip_file, depth="all", progress=progress)
    return pyramid, pyramid.save(out, progress=progress)


__all__ = ["run_demo"]
