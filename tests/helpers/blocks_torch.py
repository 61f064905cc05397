"""The small network in PyTorch, saved in every form, healthy and not; run inside the torch environment.

``python blocks_torch.py WEIGHTS.npz OUTDIR``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from blocks_frameworks import CHANNELS, CONVS, DENSE, GROUPS
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it


class ConvNorm(nn.Module):
    def __init__(self, name):
        super().__init__()
        kernel, stride, pad, groups = CONVS[name]
        kernels, channels = CHANNELS[name]
        self.conv = nn.Conv3d(channels, kernels, kernel, stride, pad, groups=groups, bias=False)
        self.bn = nn.BatchNorm3d(kernels)

    def forward(self, x):
        return self.bn(self.conv(x))


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.groups = GROUPS
        self.stem = ConvNorm("stem")
        self.res = nn.ModuleDict({"a": ConvNorm("res.a"), "b": ConvNorm("res.b")})
        self.inc = nn.ModuleDict({k: ConvNorm(f"inc.{k}") for k in ("b1", "b2a", "b2b", "b3")})
        for name in ("grp", "dw", "pw", "spat", "temp"):
            setattr(self, name, ConvNorm(name))
        self.se = nn.ModuleDict({k: nn.Linear(*DENSE[f"se.{k}"][::-1]) for k in ("fc1", "fc2")})
        self.fc = nn.Linear(*DENSE["fc"][::-1])

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.res["b"](F.relu(self.res["a"](x))) + x)
        two = F.relu(self.inc["b2b"](F.relu(self.inc["b2a"](x))))
        three = F.relu(self.inc["b3"](F.max_pool3d(x, 3, 1, 1)))
        x = F.relu(self.grp(torch.cat([F.relu(self.inc["b1"](x)), two, three], 1)))
        n, c, t, h, w = x.shape
        x = x.reshape(n, self.groups, c // self.groups, t, h, w).transpose(1, 2).reshape(n, c, t, h, w)
        x = F.relu(self.pw(F.relu(self.dw(x))))
        held = torch.sigmoid(self.se["fc2"](F.relu(self.se["fc1"](x.mean((2, 3, 4))))))
        x = x * held[:, :, None, None, None]
        return self.fc(F.relu(self.temp(F.relu(self.spat(x)))).mean((2, 3, 4)))


class Small(nn.Module):
    """One convolution and a classifier; the faults below change one thing of it."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv3d(3, 6, 3, padding=1), nn.Linear(6, 4)

    def head(self, x):
        return self.fc(F.relu(x).mean((2, 3, 4)))

    def forward(self, x):
        return self.head(self.conv(x))


class Decides(Small):
    """Code that depends on the clip's values: a trace keeps one way only."""

    def forward(self, x):
        x = self.conv(x)
        return self.head(x) if x.mean() > 0 else self.head(-2 * x)


class DecidesInScript(Small):
    def forward(self, x):
        x = self.conv(x)
        if bool(x.mean() > 0):
            x = -2 * x
        return self.fc(F.relu(x).mean((2, 3, 4)))


class Detached(Small):
    """Shortcut type A as old 3-D ResNets write it: zeros joined to ``.data``."""

    def forward(self, x):
        around = F.avg_pool3d(x, 1, 2)
        zeros = torch.zeros(around.size(0), 3, around.size(2), around.size(3), around.size(4))
        around = torch.cat([around.data, zeros], 1)
        return self.head(self.conv(x)[:, :, ::2, ::2, ::2] + around)


class Always(Small):
    """Batch statistics whatever the mode."""

    def forward(self, x):
        return self.head(F.batch_norm(self.conv(x), None, None, training=True))


class Random(Small):
    def forward(self, x):
        return self.head(F.dropout(self.conv(x), 0.5, training=True))


class OneClip(Small):
    """Knows no batch."""

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean((2, 3, 4)).view(1, 6))


class Halves(Small):
    def __init__(self):
        super().__init__()
        self.half()


class Sized(Small):
    """Pools over sizes that it looks up, as published code does; the exporter of TorchScript wants to know them."""

    def forward(self, x):
        x = F.max_pool3d(self.conv(x), 2)
        return self.fc(F.avg_pool3d(F.relu(x), (x.size(2), x.size(3), x.size(4))).view(x.size(0), -1))


class Counts(Small):
    """Counts the clips of a batch, which binds it to one number of them."""

    def forward(self, x):
        return self.head(torch.cat([self.conv(x[k : k + 1]) for k in range(x.shape[0])]))


class Paths(Small):
    """Takes its inputs as one list."""

    def forward(self, clips):
        slow, fast = clips
        return self.head(self.conv(slow)) - self.head(self.conv(fast))


class Several(Small):
    """Any number of inputs."""

    def forward(self, *clips):
        return sum(self.head(self.conv(clip)) for clip in clips)


class Chooses(Small):
    """Returns the class in front of the logits."""

    def forward(self, x):
        logits = super().forward(x)
        return logits.argmax(1), logits


class Frames(Small):
    """Knows frames and no batch."""

    def forward(self, x):
        return super().forward(x.permute(3, 0, 1, 2)[None])


class Casts(Small):
    def forward(self, x):
        return super().forward(x.half())


class Unwritten(nn.Module):
    """What it does is not written in Python."""

    forward = torch.relu


def blocks():
    torch.manual_seed(0)
    return Blocks()


def seeded(kind):
    torch.manual_seed(0)
    return kind()


def decides():
    return seeded(Decides)


def detached():
    return seeded(Detached)


def always():
    return seeded(Always)


def random():
    return seeded(Random)


def one_clip():
    return seeded(OneClip)


def halves():
    return seeded(Halves)


def paths():
    return seeded(Paths)


def several():
    return seeded(Several)


def counts():
    return seeded(Counts)


def chooses():
    return seeded(Chooses)


def frames():
    return seeded(Frames)


def casts():
    return seeded(Casts)


def lazy():
    torch.manual_seed(0)
    layers = nn.LazyConv3d(6, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.LazyLinear(4)
    return nn.Sequential(*layers)


def compiled():
    return nn.DataParallel(torch.compile(seeded(Small)))


def meta():
    with torch.device("meta"):
        return Small()


def integers():
    return torch.ao.quantization.quantize_dynamic(seeded(Small), {nn.Linear}, dtype=torch.qint8)


def leaves():
    sys.exit("set DATA first")


def nothing():
    return {"no": "module"}


def broken():
    raise LookupError("no such configuration")


def save(weights, out):
    clip = torch.from_numpy(weights.pop("clip"))
    state = {name: torch.from_numpy(a) for name, a in weights.items()}
    model = Blocks()
    missing, extra = model.load_state_dict(state, strict=False)
    assert not extra
    assert all(name.endswith("num_batches_tracked") for name in missing)
    model.eval()
    batch = {0: torch.export.Dim("batch")}
    torch.export.save(torch.export.export(model, (clip,), dynamic_shapes=(batch,)), out / "blocks.pt2")
    torch.export.save(torch.export.export(model, (clip[:1],)), out / "fixed.pt2")
    scripted, traced = torch.jit.script(model), torch.jit.trace(model, clip)
    torch.jit.save(traced, out / "traced.pt")
    torch.jit.save(scripted, out / "scripted.bin")
    torch.jit.save(torch.jit.freeze(scripted), out / "frozen.pth")
    torch.save(model, out / "pickled.pt")
    torch.save(state, out / "state.pth")
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": prefixed, "epoch": 3, "arch": "blocks"}, out / "checkpoint.pth")
    torch.save({"state_dict": state, "options": argparse.Namespace(lr=0.1)}, out / "options.pth")
    wrong = {name: tensor for name, tensor in state.items() if name != "dw.conv.weight"}
    torch.save({**wrong, "head.weight": torch.zeros(1), "fc.bias": torch.zeros(7)}, out / "wrong.pth")

    model.train()
    torch.jit.save(torch.jit.script(model), out / "trained_script.pt")  # first: a run would change the statistics
    torch.jit.save(torch.jit.trace(model, clip, check_trace=False), out / "trained_trace.pt")
    torch.export.save(torch.export.export(model, (clip,), dynamic_shapes=(batch,)), out / "trained.pt2")
    torch.jit.save(torch.jit.script(seeded(DecidesInScript).eval()), out / "decides.pt")
    torch.jit.save(torch.jit.trace(detached().eval(), clip), out / "detached.pt")
    torch.jit.save(torch.jit.trace(one_clip().eval(), clip[:1]), out / "one_clip.pt")
    torch.jit.save(torch.jit.trace(seeded(Sized).eval(), clip), out / "sized.pt")
    save_weights(state, out)


def save_weights(state, out):
    """The same weights as others save them."""
    torch.save({"epoch": 3, "ema": {"module": state}, "optimizer": {0: {"step": torch.ones(1)}}}, out / "deep.pth")
    torch.save({"student": state, "teacher": state}, out / "two.pth")
    torch.save({f"module._orig_mod.{name}": tensor for name, tensor in state.items()}, out / "wrapped.pth")
    head, data = {}, b""
    for name, tensor in state.items():
        head[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data)]}
        data += tensor.numpy().tobytes()
        head[name]["data_offsets"].append(len(data))
    text = json.dumps(head).encode()
    (out / "weights.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


if __name__ == "__main__":
    import blocks_torch  # pickles name the module, not __main__

    with np.load(sys.argv[1]) as archive:
        blocks_torch.save(dict(archive), Path(sys.argv[2]))
