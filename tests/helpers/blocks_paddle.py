"""The block network in Paddle's own files; see `blocks_frameworks`, which runs this inside Paddle's environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from blocks_frameworks import BN, CHANNELS, CONVS, DENSE, EPSILON, GROUPS, SMALL, Weights, network


def layer(weights: Weights) -> Any:
    """The network as a layer with its weights, set to inference."""
    import paddle
    from paddle import nn

    class Blocks(nn.Layer):
        """The operations of `blocks_frameworks.network`, as a layer."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = {}
            for name, (kernel, stride, pad, groups) in CONVS.items():
                out, into = CHANNELS[name]
                conv = nn.Conv3D(into, out, kernel, stride, pad, groups=groups, bias_attr=False)
                norm = nn.BatchNorm3D(out, epsilon=EPSILON)
                conv.weight.set_value(weights[f"{name}.conv.weight"])
                for own, kind in zip((norm.weight, norm.bias, norm._mean, norm._variance), BN, strict=True):
                    own.set_value(weights[f"{name}.bn.{kind}"])
                self.parts[name] = self.add_sublayer(name.replace(".", "_"), nn.Sequential(conv, norm))
            for name, (out, into) in DENSE.items():
                dense = nn.Linear(into, out)
                dense.weight.set_value(np.ascontiguousarray(weights[f"{name}.weight"].T))
                dense.bias.set_value(weights[f"{name}.bias"])
                self.parts[name] = self.add_sublayer(name.replace(".", "_"), dense)

        def forward(self, clip: Any) -> Any:
            return network(self, clip)

        def conv(self, x: Any, name: str) -> Any:
            return self.parts[name](x)

        def dense(self, x: Any, name: str) -> Any:
            return self.parts[name](x)

        def relu(self, x: Any) -> Any:
            return nn.functional.relu(x)

        def sigmoid(self, x: Any) -> Any:
            if isinstance(x, paddle.static.Variable) and not paddle.framework.in_pir_mode():
                return old_sigmoid(x)
            return nn.functional.sigmoid(x)

        def add(self, a: Any, b: Any) -> Any:
            return a + b

        def concat(self, parts: list[Any]) -> Any:
            return paddle.concat(parts, axis=1)

        def pool(self, x: Any) -> Any:
            return nn.functional.max_pool3d(x, 3, 1, 1)

        def shuffle(self, x: Any) -> Any:
            _, channels, *places = x.shape
            x = x.reshape([0, GROUPS, channels // GROUPS, *places]).transpose([0, 2, 1, 3, 4, 5])
            return x.reshape([0, channels, *places])

        def mean(self, x: Any) -> Any:
            return x.mean(axis=[2, 3, 4])

        def gate(self, x: Any, held: Any) -> Any:
            return x * held.unsqueeze([2, 3, 4])

    made = Blocks()
    made.eval()
    return made


def old_sigmoid(x: Any) -> Any:
    """The operation that files of before hold; this Paddle's function no longer writes it there."""
    from paddle.base.layer_helper import LayerHelper

    helper = LayerHelper("sigmoid")
    out = helper.create_variable_for_type_inference(x.dtype)
    helper.append_op(type="sigmoid", inputs={"X": x}, outputs={"Out": out})
    return out


def save(weights: Weights, out: Path) -> np.ndarray:
    """model.json of Paddle 3, .pdmodel of before, and what must be refused."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import paddle

    model = layer(weights)
    write(model, out / "blocks")
    write(model, out / "folder" / "inference")
    write(model, out / "fixed", batch=2)
    write(model, out / "free", sizes=(3, None, None, None))
    with paddle.pir_utils.DygraphOldIrGuard():
        write(model, out / "old")
    (out / "apart.json").write_bytes((out / "blocks.json").read_bytes())
    (out / "apart.pdmodel").write_bytes((out / "old.pdmodel").read_bytes())
    save_refused(out)
    return model(paddle.to_tensor(weights["clip"])).numpy()


def write(
    model: Any,
    prefix: Path,
    *,
    batch: int | None = None,
    sizes: Sequence[int | None] = SMALL[1:],
    kind: str = "float32",
) -> None:
    """Saves a network for inference."""
    import paddle

    paddle.jit.save(model, str(prefix), input_spec=[paddle.static.InputSpec([batch, *sizes], kind, "clip")])


def save_refused(out: Path) -> None:
    """Networks that no file of ONNX can be, and files that are broken."""
    import paddle
    from paddle import nn

    class Small(nn.Layer):
        """A convolution and what is done before or after it."""

        def __init__(self, *, width: int = 8, before: Callable = lambda x: x, after: Callable = lambda x: x) -> None:
            super().__init__()
            self.conv, self.before, self.after = nn.Conv3D(3, width, 3, padding=1), before, after

        def forward(self, clip: Any) -> Any:
            return self.after(self.conv(self.before(clip))).mean(axis=[2, 3, 4])[:, :5]

    live = nn.BatchNorm(8, trainable_statistics=True)
    networks = {
        "wide": Small(width=12),
        "narrow": Small(),
        "stats": Small(after=lambda x: live(x.reshape([0, 8, 64, 16])).reshape([0, 8, 4, 16, 16])),
        "erfinv": Small(after=lambda x: paddle.erfinv(paddle.tanh(x))),
        "one": Small(after=lambda x: x.reshape([1, 8, 4, 16, 16])),
        "integers": Small(before=lambda x: x.astype("float32")),
    }
    networks["stats"].add_sublayer("live", live)
    for name, model in networks.items():
        model.eval()
        write(model, out / name, kind="int64" if name == "integers" else "float32")
    for form in ("blocks.json", "old.pdmodel"):
        graph = out / form
        data, held = graph.read_bytes(), graph.with_suffix(".pdiparams").read_bytes()
        graph.with_stem(f"cut_{graph.stem}").write_bytes(data[: len(data) // 2])
        graph.with_name(f"cut_{graph.stem}.pdiparams").write_bytes(held)
        graph.with_stem(f"short_{graph.stem}").write_bytes(data)
        graph.with_name(f"short_{graph.stem}.pdiparams").write_bytes(held[: len(held) // 2])
    (out / "other.json").write_text('{"nodes": [], "arg_nodes": [], "heads": []}')
    (out / "both").mkdir()
    for name in ("blocks", "narrow"):
        (out / "both" / f"{name}.json").write_bytes((out / f"{name}.json").read_bytes())
