"""The report: one HTML file with everything inside, for a browser without a network."""

from cfp_onnx.report.page import render

__all__ = ["render"]
