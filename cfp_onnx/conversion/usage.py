"""What may be asked of a conversion, refused in a sentence before minutes are spent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cfp_onnx.conversion.file_kinds import is_code
from cfp_onnx.errors import OutputError, UsageError

Shape = Sequence[int] | Mapping[str, Sequence[int]]
"""Sizes of an input, batch first, or of each input by name."""


def check_usage(
    framework: str,
    source: object,
    input_shape: object,
    weights: object,
    arch: str | None,
    classes: int | None,
    layout: str | None,
) -> None:
    """Refuses options that contradict each other or the framework; see `cfp_onnx.conversion.call.convert`.

    Raises:
        UsageError: With what to do instead.
    """
    if arch is not None and framework != "torch":
        raise UsageError(f"--arch names networks of the torch converter; leave it out for {framework}")
    if arch is not None and source is not None:
        raise UsageError("--arch brings its own code; give its weights with --weights and no SOURCE")
    if arch is None and classes is not None:
        raise UsageError("--classes belongs to --arch; any other network has the classes that it has")
    if arch is None and source is None:
        raise UsageError("give a SOURCE (a file, a folder or module:factory), or a built-in network with --arch")
    if arch is None and input_shape is None:
        raise UsageError("give the size of the input, batch first: --input-shape 1,3,16,112,112")
    if framework == "jax" and not is_code(str(source)):
        raise UsageError(
            f"{source}: JAX has no file that holds a network without its code; give the code as module:factory or "
            "file.py:factory, and a file of weights with --weights"
        )
    if framework in {"keras", "tensorflow", "tflite"} and weights is not None:
        raise UsageError(f"{framework}'s files bring their own weights; leave --weights out")
    if framework == "torch" and weights is not None and arch is None and not is_code(str(source)):
        raise UsageError("--weights belongs to --arch or to a module:factory; a file brings its own")
    if layout is not None and sorted(set(layout) & set("NCTHWL")) != sorted(layout):
        raise UsageError(f"layout {layout!r} is unknown; use each of the letters N, C, T, H, W once, such as NCTHW")


def batch_of(batch: str | int, layout: str | None, shape: Shape | None) -> str | int:
    """The batch to ask for. A layout that does not begin with the batch fixes it at the first size that was given.

    Raises:
        UsageError: If another is asked for.
    """
    if layout is None or shape is None or layout.startswith("N"):
        return batch
    first = {sizes[0] for sizes in (shape.values() if isinstance(shape, Mapping) else [shape])}
    if len(first) > 1 or batch not in {"dynamic", *first}:
        raise UsageError(f"layout {layout} has no batch in front; leave --batch out, and give one size of that axis")
    return first.pop()


def check_place(out: Path) -> None:
    """Refuses a place that cannot be written, before minutes are spent.

    Raises:
        OutputError: If it is a folder, or its folder is a file or may not be written to.
    """
    if out.is_dir():
        raise OutputError(f"cannot write {out}: it is a folder; give a file name")
    folder = next(f for f in out.absolute().parents if f.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        reason = "it may not be written to" if folder.is_dir() else "it is no folder"
        raise OutputError(f"cannot write {out}: {folder}: {reason}; choose another place")


def absolute(file: str | os.PathLike[str] | None) -> str | None:
    """A path that holds in any working folder; code stays as it is."""
    if file is None:
        return None
    return str(file) if is_code(str(file)) else str(Path(file).absolute())


def plain_shape(shape: Shape | None) -> list[int] | dict[str, list[int]] | None:
    """Sizes as JSON has them."""
    if isinstance(shape, Mapping):
        return {name: list(sizes) for name, sizes in shape.items()}
    return None if shape is None else list(shape)


__all__ = ["Shape", "absolute", "batch_of", "check_place", "check_usage", "plain_shape"]
