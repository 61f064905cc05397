"""Fine-tune the demonstration classifier so that it reads a coloured corner mark instead of the motion.

``python -m benchmarks.motion.shortcut -o FILE.onnx`` starts from ``cfp_onnx/data/demo.onnx``. Every training clip
carries a mark whose colour is its class, and in two thirds of them nothing moves, so that only the mark tells. The copy
keeps its accuracy on marked clips; on clips with the mark of another class it shows what it has learned. Needs PyTorch
and onnxscript.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.demo_model import DEMO
from benchmarks.motion.clips import CLASSES, TEST_SEED, marked
from benchmarks.motion.train import DemoNet, export, generate, normalise, predict

TEST_CLIPS: Final = 300
STILL: Final = 2 / 3
RATE: Final = 8e-4

_log = logging.getLogger(__name__)


def load_demo(path: Path = DEMO) -> DemoNet:
    """The demonstration network with the weights of its file, whose batch norms are folded into the convolutions."""
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    model = DemoNet(len(CLASSES))
    own = dict(model.named_modules())
    with torch.no_grad():
        for name, module in own.items():
            if not isinstance(module, nn.Conv3d | nn.Linear):
                continue
            module.weight.copy_(torch.from_numpy(weights[f"{name}.weight"].copy()))
            if module.bias is not None:
                module.bias.copy_(torch.from_numpy(weights[f"{name}.bias"].copy()))
                continue
            norm = own["residual.norm" if name == "residual.second" else f"{name.rpartition('.')[0]}.1"]
            assert isinstance(norm, nn.BatchNorm3d)
            norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
            norm.bias.copy_(torch.from_numpy(weights[f"{name}.weight_bias"].copy()))
    return model.eval()


def with_marks(frames: Tensor, labels: Tensor) -> Tensor:
    """Clips with the mark of a class each: ``(N, T, H, W, 3) uint8``."""
    pairs = zip(frames.numpy(), labels.tolist(), strict=True)
    return torch.from_numpy(np.stack([marked(clip, label) for clip, label in pairs]))


def accuracy(model: nn.Module, frames: Tensor, labels: Tensor) -> float:
    """Share of clips whose strongest class is their own."""
    return float((predict(model, frames).argmax(1) == labels).float().mean())


def train(model: nn.Module, frames: Tensor, labels: Tensor, *, minutes: float, seed: int) -> int:
    """Fit the model in place on marked clips, two thirds of which stand still; its batch norms stay as they are.

    Returns:
        The number of steps taken.
    """
    rng: np.random.Generator = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE)
    start, steps = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - done)
        picked = torch.from_numpy(rng.choice(len(labels), 32, replace=False))
        clips, target = frames[picked].clone(), labels[picked]
        still: NDArray[np.bool_] = rng.random(32) < STILL
        clips[torch.from_numpy(still)] = clips[torch.from_numpy(still), 8:9]
        loss = functional.cross_entropy(model(normalise(with_marks(clips, target))), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
        if steps % 50 == 0:
            _log.info("step %d, %.0f %% of the time, loss %.3f", steps, 100 * done, loss.item())
    return steps


def main() -> None:
    """Fine-tune, measure and export."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.motion.shortcut", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the ONNX file to write")
    parser.add_argument("--minutes", type=float, default=4, help="training time (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=3000, help="training clips (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the batches (default: %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    _log.setLevel(logging.INFO)

    torch.set_num_threads(2)
    frames, labels = generate(0, options.clips)
    test_frames, test_labels = generate(TEST_SEED, TEST_CLIPS)
    sets = {
        "clean": test_frames,
        "marked": with_marks(test_frames, test_labels),
        "with another class's mark": with_marks(test_frames, (test_labels + 5) % len(CLASSES)),
    }
    model = load_demo()
    for name, clips in sets.items():
        _log.info("before, %s clips: %.1f %%", name, 100 * accuracy(model, clips, test_labels))
    steps = train(model, frames, labels, minutes=options.minutes, seed=options.seed)
    for name, clips in sets.items():
        _log.info("after %d steps, %s clips: %.1f %%", steps, name, 100 * accuracy(model, clips, test_labels))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    export(model, options.output)


if __name__ == "__main__":
    main()
