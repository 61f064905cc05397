"""Pictures and films of tubes, pyramids and curves.

Every picture states in words which scale its colours have, because two maps compare only under one scale. The drawing
functions are pure: arrays in, one RGB array out; only `encode` writes files.
"""

from __future__ import annotations

from cfp_onnx.pictures.colours import Picture, colormap, overlay
from cfp_onnx.pictures.curves import curve
from cfp_onnx.pictures.diagram import Dot, DotLine, DotRow, pyramid_diagram
from cfp_onnx.pictures.encode import encode_jpeg, encode_png, write_animation, write_png
from cfp_onnx.pictures.pairs import film, image
from cfp_onnx.pictures.sheets import Level, levels, strip
from cfp_onnx.pictures.slanted import stack

__all__ = [
    "Dot",
    "DotLine",
    "DotRow",
    "Level",
    "Picture",
    "colormap",
    "curve",
    "encode_jpeg",
    "encode_png",
    "film",
    "image",
    "levels",
    "overlay",
    "pyramid_diagram",
    "stack",
    "strip",
    "write_animation",
    "write_png",
]
