"""Paddle's exporter as a program of its own, because it ends its process where it refuses: MODEL PARAMS OPSET OUT."""

from __future__ import annotations

import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import paddle2onnx


def main(model: str, params: str, opset: str, out: str) -> None:
    """Writes the ONNX file.

    `optimize_tool` must be "None": the exporter's own choice installs packages from a foreign index while it runs.
    """
    paddle2onnx.export(
        model, params, out, opset_version=int(opset), auto_upgrade_opset=True, enable_onnx_checker=False,
        deploy_backend="onnxruntime", optimize_tool="None",
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
