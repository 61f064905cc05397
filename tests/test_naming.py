"""Names that people are shown."""

from __future__ import annotations

import pytest

from cfp_onnx.naming import module_of


@pytest.mark.parametrize(
    ("name", "weight", "module"),
    [
        ("node_Conv_196", "stem.conv.weight", "stem.conv"),
        ("node_conv3d_57", "layer1.0.conv2.weight", "layer1.0.conv2"),
        ("node_linear", "fc.weight", "fc"),
        ("Conv__118", "StatefulPartitionedCall/net_1/stem/convolution/ReadVariableOp:0", "net_1/stem/convolution"),
        ("Conv__118", "net_1/stem/convolution/merged_input:0", "net_1/stem/convolution"),
        ("/stem/conv/Conv", "stem.conv.weight", ""),
        ("stem", "other.weight", ""),
        ("node_Conv_1", "kernel_oih_0", ""),
        ("/Conv_5", "/Constant_13_output_0", ""),
        ("Conv.0", "conv3d_0.w_0", ""),
        ("node_Conv_2", "onnx::Conv_195", ""),
        ("node_Conv_2", "weight", ""),
    ],
)
def test_a_layer_that_only_has_a_number_is_known_by_its_module(name, weight, module):
    assert module_of(name, weight) == module
