"""The block network as SavedModel folders and .tflite files, with what converters must refuse beside them.

Runs inside TensorFlow's environment, by way of `blocks_frameworks`.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")


import numpy as np
import tensorflow as tf
from blocks_frameworks import BN, CONVS, EPSILON, KerasOps, Weights, channels_last, keras_model

CLIP = (4, 16, 16, 3)
SMALL = (None, 3, 4, 5, 2)


class PlainOps(KerasOps):
    """Grouped convolutions as TensorFlow's bare operator, which its CPU kernels do not run."""

    def conv(self, x: Any, name: str) -> Any:
        _, stride, pad, groups = CONVS[name]
        if groups == 1:
            return super().conv(x, name)
        w = tf.constant(self.weights[f"{name}.conv.weight"].transpose(2, 3, 4, 1, 0))
        strides = [1, *stride, 1]
        x = self.layers.ZeroPadding3D(pad)(x)
        x = self.layers.Lambda(lambda t: tf.nn.conv3d(t, w, strides, "VALID"))(x)
        norm = self.layers.BatchNormalization(epsilon=EPSILON)
        self.sets.append((norm, [self.weights[f"{name}.bn.{k}"] for k in BN]))
        return norm(x)


class FlatPoolOps(KerasOps):
    """The pool axis after axis in two dimensions, for which TensorFlow Lite has kernels of its own."""

    def pool(self, x: Any) -> Any:
        _, t, h, w, c = x.shape
        for shape, window in (((t * h, w, c), (1, 3)), ((t, h, w * c), (1, 3)), ((t, h * w, c), (3, 1))):
            x = self.layers.MaxPooling2D(window, 1, "same")(self.layers.Reshape(shape)(x))
        return self.layers.Reshape((t, h, w, c))(x)


class Module(tf.Module):
    """Functions as signatures of a SavedModel."""

    def __init__(self, keep: Any, **functions: Callable[[Any], Any]) -> None:
        super().__init__()
        self.keep = keep
        for name, function in functions.items():
            setattr(self, name, function)

    def save(self, folder: Path, **signatures: str) -> None:
        tf.saved_model.save(self, str(folder), {s: getattr(self, f) for s, f in signatures.items()} or None)


def function(call: Callable[[Any], Any], shape: Any = (None, *CLIP), dtype: Any = tf.float32, **options: Any) -> Any:
    spec = tf.TensorSpec(shape, dtype, name="clip")
    return tf.function(lambda clip: {"logits": call(clip)}, input_signature=[spec], **options)


def inverse(x: Any) -> Any:
    """What ONNX has no operator for."""
    return tf.linalg.inv(x[:, :, :, :2])


def beside(x: Any) -> Any:
    """What depends on the other clips of a batch."""
    return x - tf.reduce_mean(x, 0, keepdims=True)


def save_tensorflow(weights: Weights, out: Path) -> np.ndarray:
    """SavedModel folders."""
    grouped, split = keras_model(weights), keras_model(weights, split=True)
    grouped.export(out / "blocks", verbose=False)
    split.export(out / "split", verbose=False)
    two = function(lambda c: grouped(c, training=False), (2, *CLIP))
    Module(grouped, run=two).save(out / "fixed", serving_default="run")
    plain = keras_model(weights, kind=PlainOps)
    Module(plain, run=function(lambda c: plain(c, training=False))).save(out / "plain", serving_default="run")
    compiled = function(lambda c: grouped(c, training=False), jit_compile=True)
    half = function(lambda c: grouped(c, training=False) / 2)
    Module(grouped, run=compiled, half=half).save(out / "compiled", serving_default="run", half="half")
    Module(grouped, run=compiled, half=half).save(out / "several", first="run", second="half")
    Module(grouped, run=compiled, half=half).save(out / "unsigned")
    _save_from_tf1(split, out)
    _save_unusable(out)
    shutil.copytree(out / "blocks", out / "weightless", ignore=shutil.ignore_patterns("variables"))
    shutil.copytree(out / "blocks", out / "cut")
    (out / "cut" / "saved_model.pb").write_bytes((out / "blocks" / "saved_model.pb").read_bytes()[:3000])
    (out / "cut.pb").write_bytes((out / "frozen.pb").read_bytes()[:3000])
    module = Module(None, run=function(tf.nn.relu, SMALL))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.run.get_concrete_function()], module)
    (out / "relu.tflite").write_bytes(converter.convert())
    tf.train.Checkpoint(split).save(str(out / "checkpoint" / "ckpt"))
    split.save(out / "blocks.keras")
    return np.asarray(grouped(channels_last(weights["clip"]), training=False))


def _save_from_tf1(model: Any, out: Path) -> None:
    """A frozen graph, and folders as TensorFlow 1 wrote them."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    whole = function(lambda c: model(c, training=False)).get_concrete_function()
    frozen = convert_variables_to_constants_v2(whole).graph.as_graph_def()
    (out / "frozen.pb").write_bytes(frozen.SerializeToString())
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(frozen, name="")
        clip, logits = graph.get_tensor_by_name("clip:0"), graph.get_tensor_by_name("Identity:0")
        signature = v1.saved_model.predict_signature_def({"clip": clip}, {"logits": logits})
        for name, tags in (("tf1", ["serve"]), ("tagged", ["train", "gpu"])):
            builder = v1.saved_model.Builder(str(out / name))
            builder.add_meta_graph_and_variables(session, tags, {"serving_default": signature})
            builder.save()


def _save_unusable(out: Path) -> None:
    ones = tf.ones(2)

    def trains(x: Any) -> Any:
        flat = tf.reshape(x, (-1, 4, 5, 2))
        return tf.compat.v1.nn.fused_batch_norm(flat, ones, ones, is_training=True)[0]

    calls = {
        "trains": trains,
        "trains_alone": trains,
        "beside": beside,
        "random": lambda x: tf.nn.dropout(x, 0.5),
        "strange": inverse,
    }
    for name, call in calls.items():
        shape = (1, *SMALL[1:]) if name == "trains_alone" else SMALL
        Module(None, run=function(call, shape)).save(out / name, serving_default="run")
    Module(None, run=function(tf.identity, SMALL, tf.float64)).save(out / "double", serving_default="run")


# ------------------------------------------------------------------------------------------------ TensorFlow Lite


def save_tflite(weights: Weights, out: Path) -> np.ndarray:
    """.tflite files; the logits are those of the one that TensorFlow Lite runs alone."""
    grouped = keras_model(weights)
    flat = keras_model(weights, kind=FlatPoolOps, split=True)
    lite = tf.lite

    def half(converter: Any) -> None:
        converter.optimizations = [lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    def dynamic(converter: Any) -> None:
        converter.optimizations = [lite.Optimize.DEFAULT]

    def integers(converter: Any) -> None:
        rng = np.random.default_rng(1)
        clips = [rng.standard_normal((1, *CLIP)).astype(np.float32) for _ in range(4)]
        converter.optimizations = [lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([clip] for clip in clips)

    def bytes_in(converter: Any) -> None:
        integers(converter)
        converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8

    for name, model, option in (
        ("blocks", grouped, None), ("float16", grouped, half), ("dynamic_range", grouped, dynamic),
        ("alone", flat, None), ("alone_float16", flat, half), ("alone_dynamic_range", flat, dynamic),
        ("integers", flat, integers), ("bytes_in", flat, bytes_in),
        ("fixed", keras_model(weights, batch=2), None),
    ):  # fmt: skip
        (out / f"{name}.tflite").write_bytes(_lite(lite.TFLiteConverter.from_keras_model(model), option))
    several = Module(None, one=function(tf.nn.relu, SMALL), two=function(tf.nn.relu6, SMALL))
    several.save(out / "several", one="one", two="two")
    (out / "several.tflite").write_bytes(_lite(lite.TFLiteConverter.from_saved_model(str(out / "several"))))
    for name, call, dtype in (
        ("strange", inverse, tf.float32),
        ("custom", tf.math.bessel_i0e, tf.float32),
        ("counts", tf.nn.relu, tf.int32),
        ("beside", beside, tf.float32),
    ):
        module = Module(None, run=function(call, SMALL, dtype))
        converter = lite.TFLiteConverter.from_concrete_functions([module.run.get_concrete_function()], module)
        converter.allow_custom_ops = name == "custom"
        (out / f"{name}.tflite").write_bytes(_lite(converter))
    (out / "four_bits.tflite").write_bytes(_halved((out / "alone_dynamic_range.tflite").read_bytes()))
    (out / "cut.tflite").write_bytes((out / "blocks.tflite").read_bytes()[:100_000])
    runner = lite.Interpreter(str(out / "alone.tflite"))
    clip = channels_last(weights["clip"])
    runner.resize_tensor_input(runner.get_input_details()[0]["index"], clip.shape)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], clip)
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"])


def _halved(data: bytes) -> bytes:
    """A file with weights of 4 bits instead of 8; what they are does not matter."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.INT8:
            tensor.type, buffer = schema.TensorType.INT4, model.buffers[tensor.buffer]
            buffer.data = buffer.data[: len(buffer.data) // 2]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _lite(converter: Any, option: Callable[[Any], None] | None = None) -> bytes:
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    if option is not None:
        option(converter)
    with contextlib.redirect_stdout(io.StringIO()):
        return converter.convert()


__all__ = ["save_tensorflow", "save_tflite"]
