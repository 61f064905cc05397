"""Train the demonstration classifier on synthetic clips and export it to ONNX.

``python -m benchmarks.motion.train -o DIR`` writes ``demo.onnx``, ``demo.pt`` (the weights) and
``demo_clip.npz``. The network is small but holds one of each block that published video classifiers are
made of. Needs PyTorch and onnxscript.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.motion.clips import CLASSES, FRAMES, SIZE, TEST_SEED, Frames, Labels, batch, make_clip

MEAN: Final = 0.5
STD: Final = 0.25
TEST_CLIPS: Final = 500
WORKERS: Final = 2
PEAK_RATE: Final = 6e-3
RESUMED_RATE: Final = 3e-3
DEMO_CONFIDENCE: Final = 0.98

_SWAPS: Final = {
    "columns": ("left", "right", "clockwise", "counter_clockwise"),
    "rows": ("up", "down", "clockwise", "counter_clockwise"),
    "time": ("left", "right", "up", "down", "clockwise", "counter_clockwise", "grow", "shrink"),
}
"""Classes that trade places, two by two, where an axis is reversed."""
_AXES: Final = {"columns": 4, "rows": 3, "time": 2}

_log = logging.getLogger(__name__)


def _conv(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int, int],
    *,
    stride: tuple[int, int, int] = (1, 1, 1),
    groups: int = 1,
) -> nn.Sequential:
    """Same-padded convolution, batch normalisation and ReLU."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """Two 3 x 3 x 3 convolutions beside an identity shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels, (3, 3, 3))
        self.second = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, T, H, W)`` to the same shape."""
        return functional.relu(x + self.norm(self.second(self.first(x))))


class Inception(nn.Module):
    """Three branches, concatenated: 1 x 1 x 1; 1 x 1 x 1 then 3 x 3 x 3; max pool then 1 x 1 x 1."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.point = _conv(inputs, widths[0], (1, 1, 1))
        self.cube = nn.Sequential(_conv(inputs, widths[1], (1, 1, 1)), _conv(widths[1], widths[2], (3, 3, 3)))
        self.pool = nn.Sequential(nn.MaxPool3d(3, 1, 1), _conv(inputs, widths[3], (1, 1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, T, H, W)`` to ``(N, widths[0] + widths[2] + widths[3], T, H, W)``."""
        return torch.cat((self.point(x), self.cube(x), self.pool(x)), dim=1)


class Fibers(nn.Module):
    """A grouped convolution, then a shuffle that deals each group's channels out to all groups."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.conv = _conv(inputs, outputs, (3, 3, 3), groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, T, H, W)`` to ``(N, outputs, T, H, W)``."""
        x = self.conv(x)
        n, channels, t, h, w = x.shape
        x = x.reshape(n, self.groups, channels // self.groups, t, h, w)
        return x.transpose(1, 2).reshape(n, channels, t, h, w)


class Gate(nn.Module):
    """Squeeze and excitation: each channel scaled by a number in 0..1 that all channels decide."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv3d(channels, squeezed, 1)
        self.excite = nn.Conv3d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, T, H, W)`` to the same shape."""
        pooled = functional.adaptive_avg_pool3d(x, 1)
        return x * torch.sigmoid(self.excite(functional.relu(self.squeeze(pooled))))


class DemoNet(nn.Module):
    """The demonstration classifier: every block kind once, about 151 000 parameters."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = _conv(3, 24, (3, 3, 3), stride=(1, 2, 2))
        self.stem_pool = nn.MaxPool3d((1, 2, 2))
        self.residual = Residual(24)
        self.inception = Inception(24, (16, 16, 24, 8))
        self.pool = nn.MaxPool3d((2, 1, 1))
        self.fibers = Fibers(48, 96, groups=4)
        self.mix = _conv(96, 72, (1, 1, 1), groups=4)
        self.depthwise = _conv(72, 72, (3, 3, 3), stride=(2, 1, 1), groups=72)
        self.pointwise = _conv(72, 72, (1, 1, 1))
        self.gate = Gate(72, 18)
        self.spatial = _conv(72, 72, (1, 3, 3))
        self.temporal = _conv(72, 72, (3, 1, 1))
        self.head = nn.Linear(72, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """Map ``(N, 3, T, H, W)`` to logits ``(N, classes)``."""
        x = self.residual(self.stem_pool(self.stem(clip)))
        x = self.pool(self.inception(x))
        x = self.pointwise(self.depthwise(self.mix(self.fibers(x))))
        x = self.temporal(self.spatial(self.gate(x)))
        return self.head(functional.adaptive_avg_pool3d(x, 1).flatten(1))


def normalise(frames: Tensor) -> Tensor:
    """Turn ``(N, T, H, W, 3) uint8`` frames into the network's ``(N, 3, T, H, W) float32`` input."""
    return ((frames.permute(0, 4, 1, 2, 3).float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last_3d)


def generate(first: int, count: int) -> tuple[Tensor, Tensor]:
    """Draw clips of consecutive seeds on several cores.

    Args:
        first: First seed.
        count: Number of clips.

    Returns:
        Frames ``(N, T, H, W, 3) uint8`` and labels ``(N,) int64``.
    """
    chunks = [range(start, min(start + 100, first + count)) for start in range(first, first + count, 100)]
    with ProcessPoolExecutor(WORKERS) as pool:
        parts: list[tuple[Frames, Labels]] = list(pool.map(batch, chunks))
    frames, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return torch.from_numpy(frames), torch.from_numpy(labels)


def augment(clips: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Reverse axes at random, trading the classes that this turns into each other, and permute the colours.

    Args:
        clips: ``(N, 3, T, H, W) float32``.
        labels: ``(N,) int64``.
        rng: Source of the choices, which hold for the whole batch.

    Returns:
        New clips and labels of the same shapes.
    """
    clips = clips[:, torch.from_numpy(rng.permutation(3))]
    for name, axis in _AXES.items():
        if rng.random() < 0.5:
            clips, labels = clips.flip(axis), _trade(name)[labels]
    return (-clips if rng.random() < 0.5 else clips), labels


def _trade(axis: str) -> Tensor:
    """``(classes,) int64``: the class each class becomes where the axis is reversed."""
    table = torch.arange(len(CLASSES))
    names = _SWAPS[axis]
    for one, other in zip(names[::2], names[1::2], strict=True):
        first, second = CLASSES.index(one), CLASSES.index(other)
        table[first], table[second] = second, first
    return table


def train(model: nn.Module, frames: Tensor, labels: Tensor, *, minutes: float, rate: float, seed: int) -> int:
    """Fit the model with Adam under a one-cycle learning rate that follows the clock.

    Args:
        model: Network to fit in place.
        frames: ``(N, T, H, W, 3) uint8``.
        labels: ``(N,) int64``.
        minutes: Wall-clock time to take.
        rate: Peak learning rate.
        seed: Seed of the batches and the augmentation.

    Returns:
        The number of steps taken.
    """
    rng, size = np.random.default_rng(seed), 32
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-3)
    model.train()
    start, steps, running = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(done / 0.1 + 0.02, 0.5 + 0.5 * np.cos(np.pi * done))
        picked = torch.from_numpy(rng.choice(len(labels), size, replace=False))
        clips, target = augment(normalise(frames[picked]), labels[picked], rng)
        loss = functional.cross_entropy(model(clips), target, label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
        running = loss.item() if steps == 1 else 0.98 * running + 0.02 * loss.item()
        if steps % 100 == 0:
            _log.info("step %d, %.0f %% of the time, loss %.3f", steps, 100 * done, running)
    return steps


@torch.no_grad()
def predict(model: nn.Module, frames: Tensor) -> Tensor:
    """Class probabilities ``(N, classes)`` of ``(N, T, H, W, 3) uint8`` frames."""
    model.eval()
    return torch.cat([model(normalise(part)).softmax(1) for part in frames.split(50)])


def export(model: nn.Module, path: Path) -> None:
    """Write the model to one ONNX file with its labels and preprocessing, without traces of its source."""
    model.eval()
    example = torch.zeros(2, 3, FRAMES, SIZE, SIZE)
    program = torch.onnx.export(
        model,
        (example,),
        input_names=["clip"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program; this needs its dynamo exporter")
    proto = program.model_proto
    _strip(proto)
    metadata = {"cfp_onnx.labels": list(CLASSES), "cfp_onnx.preprocess": _preprocess()}
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=json.dumps(value))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def _strip(proto: onnx.ModelProto) -> None:
    """Remove the stack traces, source paths and doc strings that the exporter leaves."""
    graph = proto.graph
    for part in (
        proto,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _preprocess() -> dict[str, object]:
    return {
        "frames": FRAMES,
        "stride": 1,
        "size": [SIZE, SIZE],
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "layout": "NCTHW",
        "color": "RGB",
    }


def save_demo_clip(model: nn.Module, path: Path) -> int:
    """Write the first held-out clip that moves right beside a distractor and is classified with confidence.

    Args:
        model: Trained network.
        path: File to write, with ``frames`` ``(T, H, W, 3) uint8``.

    Returns:
        The clip's seed.
    """
    label = CLASSES.index("right")
    for seed in range(TEST_SEED + TEST_CLIPS, TEST_SEED + 2 * TEST_CLIPS):
        clip = make_clip(seed, label)
        confident = predict(model, torch.from_numpy(clip.frames)[None])[0, label] >= DEMO_CONFIDENCE
        if confident and clip.distractors:
            np.savez_compressed(path, frames=clip.frames)
            return seed
    raise RuntimeError(f"no clip of class {CLASSES[label]!r} reaches {DEMO_CONFIDENCE}; train for longer")


def main() -> None:
    """Generate, train, measure and export."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.motion.train", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--minutes", type=float, default=8, help="training time (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=8000, help="training clips (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches (default: %(default)s)")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="demo.pt to start from, at half the rate")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    _log.setLevel(logging.INFO)

    frames, labels = generate(0, options.clips)
    test_frames, test_labels = generate(TEST_SEED, TEST_CLIPS)
    torch.set_num_threads(WORKERS)
    torch.manual_seed(options.seed)
    model = DemoNet(len(CLASSES)).to(memory_format=torch.channels_last_3d)
    if options.resume:
        model.load_state_dict(torch.load(options.resume, weights_only=True))
    rate = RESUMED_RATE if options.resume else PEAK_RATE
    _log.info("%d parameters", sum(weight.numel() for weight in model.parameters()))
    steps = train(model, frames, labels, minutes=options.minutes, rate=rate, seed=options.seed)

    right = predict(model, test_frames).argmax(1) == test_labels
    _log.info("%d steps; accuracy on %d held-out clips: %.1f %%", steps, TEST_CLIPS, 100 * right.float().mean())
    for index, name in enumerate(CLASSES):
        _log.info("  %-18s %5.1f %%", name, 100 * right[test_labels == index].float().mean())
    options.output.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), options.output / "demo.pt")
    export(model, options.output / "demo.onnx")
    seed = save_demo_clip(model, options.output / "demo_clip.npz")
    _log.info("demo clip: seed %d", seed)


if __name__ == "__main__":
    main()
