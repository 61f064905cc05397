"""A stand-in for a framework's converter, and conversions that must be made or refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cfp_onnx.conversion import call as conversion
from cfp_onnx.errors import CfpError, ModelError

CONVERTERS = Path(__file__).resolve().parents[2] / "converters"


SHAPE = (1, 3, 4, 8, 8)


CLASSES = 5


CONVERTER = """
import json, os, sys
from pathlib import Path
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

request, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
order = json.loads(Path(request["source"]).read_text())
assert Path.cwd() == out.resolve()
if order.get("crash"):
    print("half a result")
    (out / "model.onnx").write_bytes(b"half")
    raise KeyError("something deep inside")
if order.get("refuse"):
    print("a warning that nobody needs", file=sys.stderr)
    print(order["refuse"], file=sys.stderr)
    sys.exit(2)
if order.get("memory"):
    raise MemoryError("Unable to allocate 1.75 PiB")
if order.get("full"):
    raise OSError(28, "No space left on device")
if order.get("sleep"):
    child = __import__("subprocess").Popen(["sleep", "60"])
    Path(order["sleep"]).write_text(f"{os.getpid()} {child.pid}\\n")
    __import__("time").sleep(60)
if order.get("import"):
    __import__(order["import"])
if order.get("signal"):
    os.kill(os.getpid(), order["signal"])
model = onnx.load(order["model"])
onnx.save(onnx.load(order.get("written", order["model"])), out / "model.onnx", **order.get("save", {}))
run, rng, arrays = ReferenceEvaluator(model), np.random.default_rng(request["seed"]), {}
name, result = model.graph.input[0].name, model.graph.output[0].name
for k in range(order.get("clips", 3)):
    batch = order.get("batch", 2) if k == 2 else 1
    x = rng.standard_normal((batch, *order.get("shape", request["input_shape"])[1:])).astype(np.float32)
    y = run.run(None, {name: x})[0] + np.float32(order.get("add", {}).get(str(k), 0))
    arrays[f"input_{k}_{name}"], arrays[f"output_{k}_{result}"] = x, y
np.savez(out / "probe.npz", **arrays)
report = {"format": 1, "framework": "fake 1.0", "exporter": "by hand", "source_kind": "order", "opset": 17,
          "notes": ["nothing was repaired"]}
(out / "report.json").write_text(json.dumps({**report, **order.get("report", {})}))
for file in order.get("remove", []):
    (out / file).unlink()
(Path(order["log"]).write_text(json.dumps({"request": request, "python": sys.executable})))
"""


def network(path, rng, *, batch="batch", op="Relu", domain=""):
    weights = {
        "w": rng.standard_normal((6, 3, 3, 3, 3)).astype(np.float32),
        "fc": rng.standard_normal((6, CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["clip", "w"], ["a"], name="conv", pads=[1] * 6),
        helper.make_node(op, ["a"], ["b"], name="middle", domain=domain),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Flatten", ["c"], ["d"], name="flat"),
        helper.make_node("MatMul", ["d", "fc"], ["logits"], name="head"),
    ]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, [batch, *SHAPE[1:]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def make(source, out, **options):
    return conversion.convert("torch", source, out, **{"input_shape": SHAPE, "python": sys.executable, **options})


def refused(source, out, says, kind=ModelError, **options):
    """Nothing may be left, and what stood there before must still stand."""
    before = sorted(out.parent.glob("*"))
    with pytest.raises(CfpError) as caught:
        make(source, out, **options)
    assert type(caught.value) is kind, caught.value
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(out.parent.glob("*")) == before
    return caught.value
