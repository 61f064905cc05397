"""What a score loses when a kernel of the first weights is set to zero, by the runtime alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import numpy_helper

Array = npt.NDArray[Any]


def lost_by_removal(model: onnx.ModelProto, clip: Array, index: int) -> list[float]:
    """How far class `index` of ``y`` falls without each kernel of the first initializer, named ``w``."""

    def score(kernel: int | None) -> float:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        held = copy.graph.initializer[0]
        values = numpy_helper.to_array(held).copy()
        if kernel is not None:
            values[kernel] = 0
        held.CopyFrom(numpy_helper.from_array(values, "w"))
        found = onnxruntime.InferenceSession(copy.SerializeToString()).run(["y"], {"x": clip})[0]
        return float(np.asarray(found)[0, index])

    kernels = numpy_helper.to_array(model.graph.initializer[0]).shape[0]
    return [score(None) - score(k) for k in range(kernels)]
