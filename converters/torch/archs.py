"""The paper's networks, with the module names of their published checkpoints.

3-D ResNets and ResNeXt (Hara et al., CVPR 2018), MF-Net (Chen et al., ECCV 2018) and I3D (Carreira and Zisserman,
CVPR 2017). Each returns logits ``(N, classes)`` of clips ``(N, 3, T, H, W)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

# ----------------------------------------------------------------------------------------------- 3-D ResNets


class PaddedShortcut(nn.Module):
    """Shortcut type A: every `stride`-th place, and zeros for the channels that are missing."""

    def __init__(self, missing: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = missing, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, C + missing, T / stride, H / stride, W / stride)."""
        x = F.avg_pool3d(x, kernel_size=1, stride=self.stride)
        return F.pad(x, (0, 0, 0, 0, 0, 0, 0, self.missing))


def shortcut(inside: int, outside: int, stride: int, kind: str) -> nn.Module | None:
    """What a block's input passes on its way around; None where it fits as it is."""
    if stride == 1 and inside == outside:
        return None
    if kind == "A":
        return PaddedShortcut(outside - inside, stride)
    return nn.Sequential(nn.Conv3d(inside, outside, 1, stride=stride, bias=False), nn.BatchNorm3d(outside))


class Basic(nn.Module):
    """Two 3x3x3 convolutions and a shortcut."""

    def __init__(self, inside: int, width: int, stride: int, kind: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inside, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.downsample = shortcut(inside, width, stride, kind)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both paths."""
        around = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + around)


class Bottleneck(nn.Module):
    """1x1x1, 3x3x3 (grouped in ResNeXt), 1x1x1, and a shortcut."""

    def __init__(self, inside: int, width: int, stride: int, kind: str, groups: int, outside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outside)
        self.downsample = shortcut(inside, outside, stride, kind)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both paths."""
        around = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + around)


class ResNet(nn.Module):
    """A 3-D ResNet or ResNeXt.

    Args:
        depths: Blocks of each of the four stages.
        classes: Outputs.
        bottleneck: Whether blocks have three convolutions.
        groups: Groups of each block's middle convolution; above 1 the blocks are ResNeXt's, twice as wide inside.
        kind: Type of the shortcuts, A or B.
    """

    def __init__(
        self, depths: tuple[int, ...], classes: int, *, bottleneck: bool = True, groups: int = 1, kind: str = "B"
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        channels = 64
        for stage, blocks in enumerate(depths):
            base, made = 64 << stage, []
            outside = 4 * base if bottleneck else base
            width = 2 * base if groups > 1 else base
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                if bottleneck:
                    made.append(Bottleneck(channels, width, stride, kind, groups, outside))
                else:
                    made.append(Basic(channels, width, stride, kind))
                channels = outside
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool3d(x, 1).flatten(1))


# --------------------------------------------------------------------------------------------------- MF-Net


class NormConv(nn.Module):
    """Batch norm, ReLU, convolution: MF-Net activates before it convolves."""

    def __init__(
        self, inside: int, outside: int, kernel: tuple[int, int, int], stride: tuple[int, int, int], groups: int = 1
    ) -> None:
        super().__init__()
        self.bn = nn.BatchNorm3d(inside)
        padding = tuple(k // 2 for k in kernel)
        self.conv = nn.Conv3d(inside, outside, kernel, stride=stride, padding=padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The raw output of the convolution."""
        return self.conv(F.relu(self.bn(x)))


class Fibers(nn.Module):
    """A multi-fiber unit: a multiplexer that mixes the fibers, then convolutions in fibers of their own."""

    def __init__(self, inside: int, outside: int, stride: tuple[int, int, int], *, first: bool) -> None:
        super().__init__()
        fibers, mixed, one = 16, outside // 4, (1, 1, 1)
        self.conv_i1 = NormConv(inside, mixed, one, one)
        self.conv_i2 = NormConv(mixed, inside, one, one)
        self.conv_m1 = NormConv(inside, outside, (3, 3, 3), stride, fibers)
        if first:
            self.conv_m2 = NormConv(outside, outside, one, one)
            self.conv_w1 = NormConv(inside, outside, one, stride)
        else:
            self.conv_m2 = NormConv(outside, outside, (1, 3, 3), one, fibers)
            self.conv_w1 = None

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the fibers and of what goes around them."""
        mixed = x + self.conv_i2(self.conv_i1(x))
        around = x if self.conv_w1 is None else self.conv_w1(x)
        return self.conv_m2(self.conv_m1(mixed)) + around


class Stem(nn.Module):
    """MF-Net's first convolution, activated afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 16, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2), bias=False)
        self.bn = nn.BatchNorm3d(16)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, T, H, W) to (N, 16, T, H / 2, W / 2)."""
        return F.relu(self.bn(self.conv(x)))


class MFNet(nn.Module):
    """MF-Net 3D."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = Stem()
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        channels, strides = 16, {2: (2, 1, 1)}
        for stage, (width, units) in enumerate(((96, 3), (192, 4), (384, 6), (768, 3)), start=2):
            made = nn.Sequential()
            for unit in range(1, units + 1):
                stride = strides.get(stage, (1, 2, 2)) if unit == 1 else (1, 1, 1)
                made.add_module(f"B{unit:02d}", Fibers(channels, width, stride, first=unit == 1))
                channels = width
            setattr(self, f"conv{stage}", made)
        self.tail = nn.Sequential()
        self.tail.add_module("bn", nn.BatchNorm3d(channels))
        self.tail.add_module("relu", nn.ReLU())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.maxpool(self.conv1(x))
        x = self.tail(self.conv5(self.conv4(self.conv3(self.conv2(x)))))
        return self.classifier(F.adaptive_avg_pool3d(x, 1).flatten(1))


# ------------------------------------------------------------------------------------------------------ I3D


def same(kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> tuple[int, ...]:
    """Zeros before and after each axis, last axis first, as ``F.pad`` takes them: the odd one goes behind."""
    total = [max(k - s, 0) for k, s in zip(kernel, stride, strict=True)]
    return tuple(part for t in reversed(total) for part in (t // 2, t - t // 2))


class Unit3D(nn.Module):
    """Convolution, batch norm and ReLU with padding as TensorFlow's; or a bare convolution with a bias."""

    def __init__(self, inside: int, outside: int, kernel: int = 1, stride: int = 1, *, bare: bool = False) -> None:
        super().__init__()
        pad = same((kernel,) * 3, (stride,) * 3)
        even = pad[0] if pad[0] == pad[1] else 0
        self.pad = pad if pad[0] != pad[1] else None
        self.conv3d = nn.Conv3d(inside, outside, kernel, stride=stride, padding=even, bias=bare)
        self.batch3d = None if bare else nn.BatchNorm3d(outside)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, K, T / stride, H / stride, W / stride)."""
        x = self.conv3d(x if self.pad is None else F.pad(x, self.pad))
        return x if self.batch3d is None else F.relu(self.batch3d(x))


class Pool3D(nn.Module):
    """Max-pool with padding as TensorFlow's; its inputs are never negative, so zeros never win."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.pad = same(kernel, stride)
        self.pool = nn.MaxPool3d(kernel, stride=stride, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """The largest value of each window."""
        return self.pool(F.pad(x, self.pad))


class Mixed(nn.Module):
    """Four branches that meet in a concatenation; the fourth pools before it convolves."""

    def __init__(self, inside: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        one, two, three, four, five, six = widths
        self.branch_0 = Unit3D(inside, one)
        self.branch_1 = nn.Sequential(Unit3D(inside, two), Unit3D(two, three, 3))
        self.branch_2 = nn.Sequential(Unit3D(inside, four), Unit3D(four, five, 3))
        self.branch_3 = nn.Sequential(Pool3D((3, 3, 3), (1, 1, 1)), Unit3D(inside, six))
        self.outside = one + three + five + six

    def forward(self, x: Tensor) -> Tensor:
        """The branches' channels, one after another."""
        return torch.cat([self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(x)], 1)


MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


class I3D(nn.Module):
    """Inflated Inception-V1; returns the mean of the logits over time."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv3d_1a_7x7 = Unit3D(3, 64, 7, 2)
        self.maxPool3d_2a_3x3 = Pool3D((1, 3, 3), (1, 2, 2))
        self.conv3d_2b_1x1 = Unit3D(64, 64)
        self.conv3d_2c_3x3 = Unit3D(64, 192, 3)
        self.maxPool3d_3a_3x3 = Pool3D((1, 3, 3), (1, 2, 2))
        self.maxPool3d_4a_3x3 = Pool3D((3, 3, 3), (2, 2, 2))
        self.maxPool3d_5a_2x2 = Pool3D((2, 2, 2), (2, 2, 2))
        channels = 192
        for name, widths in MIXED.items():
            block = Mixed(channels, widths)
            setattr(self, f"mixed_{name}", block)
            channels = block.outside
        self.conv3d_0c_1x1 = Unit3D(channels, classes, bare=True)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.maxPool3d_2a_3x3(self.conv3d_1a_7x7(x))
        x = self.maxPool3d_3a_3x3(self.conv3d_2c_3x3(self.conv3d_2b_1x1(x)))
        for name in MIXED:
            if name in {"4b", "5b"}:
                x = self.maxPool3d_4a_3x3(x) if name == "4b" else self.maxPool3d_5a_2x2(x)
            x = getattr(self, f"mixed_{name}")(x)
        frames, height, width = x.shape[2:]
        x = F.avg_pool3d(x, (min(2, frames), height, width), stride=1)
        return self.conv3d_0c_1x1(x).mean((2, 3, 4))


# ----------------------------------------------------------------------------------------------------- table


@dataclass(frozen=True)
class Arch:
    """A network and what it usually takes.

    Attributes:
        make: The network with random weights, for a number of classes.
        frames: Frames of a clip.
        size: Height and width in pixels.
    """

    make: Callable[[int], nn.Module]
    frames: int = 16
    size: int = 112


def _resnets() -> dict[str, Arch]:
    depths = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3),
              152: (3, 8, 36, 3)}  # fmt: skip
    made = {}
    for layers, blocks in depths.items():
        for suffix, kind in (("", "B"), ("-a", "A")):
            made[f"resnet{layers}-3d{suffix}"] = Arch(
                lambda classes, blocks=blocks, kind=kind, deep=layers >= 50: ResNet(
                    blocks, classes, bottleneck=deep, kind=kind
                )
            )
    return made


ARCHS: dict[str, Arch] = {
    **_resnets(),
    "resnext101-3d": Arch(lambda classes: ResNet((3, 4, 23, 3), classes, groups=32)),
    "mfnet": Arch(MFNet, size=224),
    "i3d": Arch(I3D, size=224),
}
"""Names of ``--arch``; ``-a`` at the end means shortcuts of type A."""
