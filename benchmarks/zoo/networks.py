"""The zoo's networks: one row for each kind. Needs PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo import blocks
from benchmarks.zoo.blocks import Size, conv, mean_head, norm, unit
from benchmarks.zoo.families import SHAPE
from benchmarks.zoo.flat import PICTURE, SIGNAL
from benchmarks.zoo.tokens import Mvit, Vit

Shape = tuple[int, ...]


class Resnet(nn.Module):
    """Residual blocks.

    Args:
        classes: Number of classes.
        dims: Axes beside batch and channels.
        channels: The input's channels.
        widths: Channels of the two stages.
        groups: Groups of a group normalisation; batch normalisation where it is 0.
        stem: Kernel and stride of the first layer.
        strides: Stride of each block.
    """

    def __init__(
        self,
        classes: int,
        *,
        dims: int = 3,
        channels: int = 3,
        widths: tuple[int, int] = (12, 20),
        groups: int = 0,
        stem: tuple[Size, Size] = (3, (1, 2, 2)),
        strides: tuple[Size, ...] = (1, 2, 1),
    ) -> None:
        super().__init__()
        low, high = widths
        self.stem = conv(channels, low, stem[0], stride=stem[1], dims=dims)
        self.norm = norm(low, groups=groups, dims=dims)
        sizes = [low, low, *[high] * (len(strides) - 1)]
        self.blocks = nn.Sequential(*(
            blocks.Residual(inputs, outputs, stride=stride, groups=groups, dims=dims)
            for inputs, outputs, stride in zip(sizes, sizes[1:], strides, strict=False)
        ))  # fmt: skip
        self.head = nn.Linear(high, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """Map ``(N, channels, ...)`` to logits ``(N, classes)``."""
        return self.head(mean_head(self.blocks(functional.relu(self.norm(self.stem(clip))))))


class Chain(nn.Module):
    """Stages one after the other, the mean over all positions, and a dense layer."""

    def __init__(self, features: int, classes: int, *stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(features, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """Map ``(N, 3, T, H, W)`` to logits ``(N, classes)``."""
        return self.head(self.pool(self.stages(clip)).flatten(1))


class SlowFast(nn.Module):
    """A slow, wide pathway over every other frame and a fast, thin one whose maps are handed across."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.slow_stem = unit(3, 16, (1, 3, 3), stride=(1, 2, 2))
        self.fast_stem = unit(3, 8, (3, 3, 3), stride=(1, 2, 2))
        self.fast_first, self.fast_second = blocks.Residual(8, 8), blocks.Residual(8, 8, stride=(1, 2, 2))
        self.across_first = unit(8, 8, (5, 1, 1), stride=(2, 1, 1))
        self.across_second = unit(8, 8, (5, 1, 1), stride=(2, 1, 1))
        self.slow_first = nn.Sequential(unit(24, 24, (1, 3, 3), stride=(1, 2, 2)), unit(24, 24, (1, 3, 3)))
        self.slow_second = nn.Sequential(unit(32, 24, 3), unit(24, 24, (1, 3, 3)))
        self.head = nn.Linear(32, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """Map ``(N, 3, T, H, W)`` to logits ``(N, classes)``."""
        fast = self.fast_first(self.fast_stem(clip))
        slow = self.slow_first(torch.cat((self.slow_stem(clip[:, :, ::2]), self.across_first(fast)), dim=1))
        fast = self.fast_second(fast)
        slow = self.slow_second(torch.cat((slow, self.across_second(fast)), dim=1))
        pooled = [functional.adaptive_avg_pool3d(path, 1).flatten(1) for path in (slow, fast)]
        return self.head(torch.cat(pooled, dim=1))


class Convnext(nn.Module):
    """ConvNeXt's blocks in two stages, for clips, pictures or signals."""

    def __init__(self, classes: int, *, dims: int = 3, channels: int = 3, widths: tuple[int, int] = (24, 36)) -> None:
        super().__init__()
        low, high = widths
        near = (3,) * dims
        far = {3: (3, 5, 5), 2: (5, 5), 1: (7,)}[dims]
        shrink = {3: (1, 2, 2), 2: (2, 2), 1: (2,)}[dims]
        layers = blocks.CONV[dims]
        self.stem = conv(channels, low, 3, stride=2, dims=dims, bias=True)
        self.first = nn.Sequential(blocks.Next(low, near), blocks.Next(low, near))
        self.down = nn.Sequential(blocks.ChannelNorm(low), layers(low, high, shrink, shrink))
        self.second = nn.Sequential(blocks.Next(high, far), blocks.Next(high, far))
        self.norm, self.head = nn.LayerNorm(high, eps=1e-6), nn.Linear(high, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """Map ``(N, channels, ...)`` to logits ``(N, classes)``."""
        x = self.second(self.down(self.first(self.stem(clip))))
        return self.head(self.norm(mean_head(x)))


class Recurrent(nn.Module):
    """Convolutions over each frame, and an LSTM over the frames whose last state is read."""

    def __init__(self, classes: int, *, width: int = 32) -> None:
        super().__init__()
        self.frames = nn.Sequential(
            unit(3, 12, (1, 3, 3), stride=(1, 2, 2)), unit(12, 16, (1, 3, 3), stride=(1, 2, 2)), unit(16, 16, (1, 3, 3))
        )
        self.squeeze = nn.Linear(16 * 4 * 4, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """Map ``(N, 3, T, 16, 16)`` to logits ``(N, classes)``."""
        x = self.frames(clip).transpose(1, 2).flatten(2)
        states, _ = self.lstm(functional.relu(self.squeeze(x)))
        return self.head(states[:, -1])


def x3d(classes: int) -> nn.Module:
    """Depth-wise blocks with SiLU, and gates that all channels decide."""
    stem = nn.Sequential(conv(3, 20, (1, 3, 3), stride=(1, 2, 2)), unit(20, 20, (5, 1, 1), groups=20))
    middle = (blocks.Inverted(20, 48, 28, stride=(1, 2, 2)), blocks.Inverted(28, 64, 28), blocks.Inverted(28, 64, 28))
    return Chain(64, classes, stem, *middle, unit(28, 64, 1))


def r2plus1d(classes: int) -> nn.Module:
    """Convolutions over space, then over time."""
    stem = (unit(3, 16, (1, 3, 3), stride=(1, 2, 2)), unit(16, 16, (3, 1, 1)))
    body = (blocks.Factored(16, 16), blocks.Factored(16, 28, stride=2), blocks.Factored(28, 28))
    return Chain(28, classes, *stem, *body)


def mfnet(classes: int) -> nn.Module:
    """Fibers with a multiplexer."""
    stem = unit(3, 16, 3, stride=(1, 2, 2))
    body = (blocks.Fibers(16, 32, 32), blocks.Fibers(32, 48, 48, stride=2), blocks.Fibers(48, 48, 48))
    return Chain(48, classes, stem, *body)


def inception(classes: int) -> nn.Module:
    """Branches that are concatenated."""
    stem = unit(3, 16, 3, stride=(1, 2, 2))
    body = (blocks.Branches(16, 8, 16, 12, 8), nn.MaxPool3d(2), blocks.Branches(44, 12, 24, 16, 8))
    return Chain(60, classes, stem, *body)


def densenet(classes: int) -> nn.Module:
    """Each layer reads all before it."""
    stem = unit(3, 16, 3, stride=(1, 2, 2))
    change = nn.Sequential(norm(40), nn.ReLU(), conv(40, 20, 1), nn.AvgPool3d(2))
    last = nn.Sequential(norm(50), nn.ReLU())
    return Chain(50, classes, stem, blocks.Dense(16, 8, 3), change, blocks.Dense(20, 10, 3), last)


def cbam(classes: int) -> nn.Module:
    """Residual blocks with gates of channels and of places."""
    body = (blocks.Attended(12, 12), blocks.Attended(12, 20, stride=2), blocks.Attended(20, 20))
    return Chain(20, classes, unit(3, 12, 3, stride=(1, 2, 2)), *body)


def movinet(classes: int) -> nn.Module:
    """Causal depth-wise blocks with hard activations."""
    stem = unit(3, 16, (1, 3, 3), stride=(1, 2, 2), act=nn.Hardswish)
    body = (blocks.Causal(16, 40, 24, stride=2), blocks.Causal(24, 64, 24), blocks.Causal(24, 64, 24))
    return Chain(64, classes, stem, *body, unit(24, 64, 1, act=nn.Hardswish))


@dataclass(frozen=True)
class Kind:
    """How a kind of network is made.

    Attributes:
        build: Gives the network for a number of classes.
        families: For each seed, families whose classes it tells apart.
        shape: The input without batch and channels.
        free_batch: Whether the file takes any number of clips; else one.
        dynamo: Whether the newer exporter writes the file; else the one of TorchScript.
        steps: Training steps.
        rate: Peak learning rate.
        batch: Clips in a step.
        pool: Training clips.
    """

    build: Callable[[int], nn.Module]
    families: tuple[tuple[str, ...], ...]
    shape: Shape = SHAPE
    free_batch: bool = True
    dynamo: bool = True
    steps: int = 1000
    rate: float = 5e-3
    batch: int = 24
    pool: int = 4000


def _sized(kernel: Size, stride: Size, first: Size = 1) -> Callable[[int], nn.Module]:
    """Residual networks for larger or longer clips: the stem strides to a grid of about 14 x 14."""
    return lambda classes: Resnet(classes, widths=(12, 16), stem=(kernel, stride), strides=(first, 2, 1))


def _flat_resnet(dims: int, strides: tuple[Size, ...]) -> Callable[[int], nn.Module]:
    return lambda classes: Resnet(classes, dims=dims, widths=(12, 20), stem=(3, 1), strides=strides)


def _flat_convnext(dims: int) -> Callable[[int], nn.Module]:
    return lambda classes: Convnext(classes, dims=dims, widths=(16, 28))


_PICTURES: Final = (("look_2d", "beside_2d"),) * 2
_SIGNALS: Final = (("sequence_1d", "chirp_1d"),) * 2
_ORDER: Final = ("direction", "order")
_SMALL: Final = ("direction", "small")
_LOOK: Final = ("direction", "look")

KINDS: Final[dict[str, Kind]] = {
    "resnet": Kind(Resnet, (_ORDER, _LOOK), dynamo=False),
    "convnext": Kind(Convnext, (_LOOK, _ORDER), rate=4e-3, steps=1500),
    "vit-mean": Kind(
        lambda classes: Vit(classes, shape=SHAPE, patch=(2, 4, 4)), (_LOOK, _ORDER), rate=2e-3, steps=2500
    ),
    "groupnorm": Kind(lambda classes: Resnet(classes, groups=4), (_ORDER, _SMALL), dynamo=False),
    "x3d": Kind(x3d, (_SMALL, _LOOK), dynamo=False),
    "r2plus1d": Kind(r2plus1d, (_LOOK, _ORDER), steps=800),
    "slowfast": Kind(SlowFast, (_ORDER, _SMALL), dynamo=False),
    "mfnet": Kind(mfnet, (_SMALL, _ORDER), dynamo=False),
    "inception": Kind(inception, (_LOOK, _SMALL), dynamo=False),
    "densenet": Kind(densenet, (_ORDER, _LOOK), dynamo=False, steps=800),
    "vit-class": Kind(
        lambda classes: Vit(classes, shape=SHAPE, patch=(2, 4, 4), class_token=True, fused=True),
        (_ORDER, _LOOK), free_batch=False, dynamo=False, rate=2e-3, steps=2500,
    ),
    "mvit": Kind(Mvit, (_ORDER, _LOOK), rate=2e-3, steps=2200),
    "cbam": Kind(cbam, (_LOOK, _SMALL)),
    "movinet": Kind(movinet, (_ORDER, _LOOK)),
    "cnn-lstm": Kind(Recurrent, (_ORDER, _LOOK), dynamo=False, rate=4e-3, steps=1500),
    "resnet-40": Kind(_sized((3, 5, 5), (1, 4, 4)), (_SMALL, _LOOK), (8, 40, 40), steps=800),
    "resnet-112": Kind(_sized((3, 9, 9), (2, 8, 8)), (_LOOK, _ORDER), (16, 112, 112), pool=800, steps=1000, batch=16),
    "resnet-224": Kind(
        _sized((1, 9, 9), (1, 8, 8), (1, 2, 2)), (_LOOK, _ORDER), (8, 224, 224), pool=500, steps=1200, batch=12
    ),
    "resnet-long": Kind(_sized((5, 3, 3), (4, 2, 2)), (_ORDER, _SMALL), (64, 16, 16), steps=1500),
    "resnet-2d": Kind(_flat_resnet(2, (2, 1, 2)), _PICTURES, PICTURE, dynamo=False, pool=12000),
    "convnext-2d": Kind(_flat_convnext(2), _PICTURES, PICTURE, rate=4e-3, pool=12000),
    "vit-mean-2d": Kind(
        lambda classes: Vit(classes, shape=PICTURE, patch=(4, 4), width=24), _PICTURES, PICTURE,
        rate=2e-3, steps=1500, pool=12000,
    ),
    "resnet-1d": Kind(_flat_resnet(1, (2, 1, 2)), _SIGNALS, SIGNAL, dynamo=False, pool=12000),
    "convnext-1d": Kind(_flat_convnext(1), _SIGNALS, SIGNAL, rate=4e-3, pool=12000),
    "vit-mean-1d": Kind(
        lambda classes: Vit(classes, shape=SIGNAL, patch=(4,), width=24), _SIGNALS, SIGNAL,
        rate=2e-3, steps=1500, pool=12000,
    ),
}  # fmt: skip
"""Kinds of networks by name."""
