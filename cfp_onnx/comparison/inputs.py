"""Whether two files take the same input, and got the same numbers of a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cfp_onnx.comparison.judge import TOLERANCE
from cfp_onnx.comparison.side import Side
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.shared_clip import partners
from cfp_onnx.matching.agreement import agreement, rows_of
from cfp_onnx.matching.wording import by_sizes
from cfp_onnx.values import Array

if TYPE_CHECKING:
    from cfp_onnx.clips.clip import Clip


def fed_alike(a: Side, b: Side, clips: tuple[Clip, Clip]) -> bool:
    """Whether both get the same numbers."""
    for name, other in partners([p.name for p in a.model.inputs], [p.name for p in b.model.inputs]):
        one, two = (
            _channels_first(np.asarray(c.feeds[n], np.float32), s.engine.axes[n])
            for c, s, n in ((clips[0], a, name), (clips[1], b, other))
        )
        if one.shape != two.shape or agreement(one, two).difference > TOLERANCE["float32"]:
            return False
    return True


def _channels_first(value: Array, axis: int | None) -> Array:
    return rows_of(value, axis, 1) if value.ndim and axis is not None else value.reshape(1, -1)


def same_sizes(a: Side, b: Side) -> None:
    """Refuses two models that do not take and answer the same.

    Raises:
        UsageError: If their inputs or their class counts differ.
    """
    for name, other in partners([p.name for p in a.model.inputs], [p.name for p in b.model.inputs]):
        one, two = _size_of(a, name), _size_of(b, other)
        if one != two:
            raise UsageError(
                f"{a.model.path} takes {name!r} with channels and sizes {by_sizes(one)}, {b.model.path} takes "
                f"{other!r} with {by_sizes(two)}; only networks with the same input can be compared"
            )
    ours, theirs = a.engine.classes()[0], b.engine.classes()[0]
    if ours != theirs:
        raise UsageError(
            f"{a.model.path} has {ours} classes and {b.model.path} has {theirs}; only networks with the same classes "
            "can be compared"
        )


def _size_of(side: Side, name: str) -> tuple[int, ...]:
    """Channels, then the sizes of the other axes without the batch."""
    shape, axis = side.engine.program.shapes[name], side.engine.axes[name]
    if axis is None:
        return (1, *shape)
    return (*shape[axis : axis + 1], *(n for k, n in enumerate(shape) if k not in {0, axis}))


__all__ = ["fed_alike", "same_sizes"]
