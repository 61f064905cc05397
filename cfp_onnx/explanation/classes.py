"""The classes of a network's output: scores, labels, and the class that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cfp_onnx.errors import TargetError
from cfp_onnx.explanation.call import Engine
from cfp_onnx.values import Array


def label_of(labels: Sequence[str] | None, index: int) -> str | None:
    return labels[index] if labels is not None and index < len(labels) else None


def pick_class(
    engine: Engine, outputs: Mapping[str, Array], target: int | str | None, labels: Sequence[str] | None
) -> int:
    """The class index for an index, a label, or None (the top-1 class of the model's outputs).

    Raises:
        TargetError: If there is no such class.
    """
    count, _ = engine.classes()
    if target is None:
        return int(np.argmax(engine.scores(outputs[engine.output])))
    text = str(target).strip()
    if labels is not None and text in labels and not isinstance(target, int):
        index = list(labels).index(text)
    elif text.lstrip("-").isdigit():
        index = int(text)
    else:
        known = (
            "the model has no labels, give --labels or an index" if labels is None else "see --labels, or give an index"
        )
        raise TargetError(f"label {text!r} is unknown; {known}")
    if not 0 <= index < count:
        raise TargetError(f"class {index} is out of range; {engine.file.path} has {count} classes, 0 to {count - 1}")
    return index


__all__ = ["label_of", "pick_class"]
