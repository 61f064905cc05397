"""Blocks of the zoo's convolutional networks, for clips, pictures or signals. Needs PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}

Size = int | tuple[int, ...]


def conv(
    inputs: int, outputs: int, kernel: Size, *, stride: Size = 1, groups: int = 1, dims: int = 3, bias: bool = False
) -> nn.Module:
    """A convolution whose output has the input's size, divided by the stride."""
    padding = kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)
    return CONV[dims](inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)


def norm(channels: int, *, groups: int = 0, dims: int = 3) -> nn.Module:
    """Batch normalisation, or group normalisation where a number of groups is given."""
    return nn.GroupNorm(groups, channels) if groups else BATCH_NORM[dims](channels)


def unit(
    inputs: int,
    outputs: int,
    kernel: Size,
    *,
    stride: Size = 1,
    groups: int = 1,
    dims: int = 3,
    act: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch normalisation and activation."""
    layer = conv(inputs, outputs, kernel, stride=stride, groups=groups, dims=dims)
    return nn.Sequential(layer, norm(outputs, dims=dims), act())


def mean_head(x: Tensor) -> Tensor:
    """Mean over all positions: ``(N, C, ...)`` to ``(N, C)``."""
    return x.flatten(2).mean(2)


class Residual(nn.Module):
    """Two convolutions beside a shortcut, which has a convolution of its own where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: Size = 1, groups: int = 0, dims: int = 3) -> None:
        super().__init__()
        self.first = conv(inputs, outputs, 3, stride=stride, dims=dims)
        self.first_norm = norm(outputs, groups=groups, dims=dims)
        self.second = conv(outputs, outputs, 3, dims=dims)
        self.second_norm = norm(outputs, groups=groups, dims=dims)
        self.short: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            layer = conv(inputs, outputs, 1, stride=stride, dims=dims)
            self.short = nn.Sequential(layer, norm(outputs, groups=groups, dims=dims))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, ...)`` to ``(N, outputs, ...)``."""
        y = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(y)) + self.short(x))


class Factored(nn.Module):
    """A residual block of (2+1)-D convolutions: space, then time."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            unit(inputs, outputs, (1, 3, 3), stride=(1, stride, stride)),
            unit(outputs, outputs, (3, 1, 1), stride=(stride, 1, 1)),
            unit(outputs, outputs, (1, 3, 3)),
            conv(outputs, outputs, (3, 1, 1)),
            norm(outputs),
        )
        self.short: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.short = nn.Sequential(conv(inputs, outputs, 1, stride=stride), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, T, H, W)`` to ``(N, outputs, ...)``."""
        return functional.relu(self.body(x) + self.short(x))


class Squeeze(nn.Module):
    """Squeeze and excitation: each channel times a number that all channels decide."""

    def __init__(self, channels: int, squeezed: int, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.down, self.up, self.gate = nn.Conv3d(channels, squeezed, 1), nn.Conv3d(squeezed, channels, 1), gate()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, T, H, W)`` to the same shape."""
        pooled = functional.adaptive_avg_pool3d(x, 1)
        return x * self.gate(self.up(functional.relu(self.down(pooled))))


class Inverted(nn.Module):
    """X3D's block: wider, depth-wise, gated, narrower, beside an identity."""

    def __init__(self, inputs: int, wide: int, outputs: int, *, stride: Size = 1) -> None:
        super().__init__()
        self.expand = unit(inputs, wide, 1)
        self.depthwise = nn.Sequential(conv(wide, wide, 3, stride=stride, groups=wide), norm(wide))
        self.squeeze = Squeeze(wide, 8)
        self.project = nn.Sequential(conv(wide, outputs, 1), norm(outputs))
        self.same = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, T, H, W)`` to ``(N, outputs, ...)``."""
        y = self.project(functional.silu(self.squeeze(self.depthwise(self.expand(x)))))
        return x + y if self.same else y


class Fibers(nn.Module):
    """MF-Net's unit: a multiplexer of two 1 x 1 x 1 convolutions, then grouped convolutions, beside a shortcut."""

    def __init__(self, inputs: int, middle: int, outputs: int, *, groups: int = 4, stride: int = 1) -> None:
        super().__init__()
        self.mix = nn.Sequential(unit(inputs, inputs // groups, 1), conv(inputs // groups, inputs, 1), norm(inputs))
        self.first = unit(inputs, middle, 3, stride=stride, groups=groups)
        self.second = nn.Sequential(conv(middle, outputs, (1, 3, 3), groups=groups), norm(outputs))
        self.short: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.short = nn.Sequential(conv(inputs, outputs, 1, stride=stride), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, T, H, W)`` to ``(N, outputs, ...)``."""
        mixed = functional.relu(x + self.mix(x))
        return functional.relu(self.second(self.first(mixed)) + self.short(x))


class Branches(nn.Module):
    """Inception's block: 1 x 1 x 1; the same then 3 x 3 x 3; the same then 1 x 3 x 3; a max pool then 1 x 1 x 1."""

    def __init__(self, inputs: int, point: int, cube: int, flat: int, pooled: int) -> None:
        super().__init__()
        self.point = unit(inputs, point, 1)
        self.cube = nn.Sequential(unit(inputs, cube // 2, 1), unit(cube // 2, cube, 3))
        self.flat = nn.Sequential(unit(inputs, flat // 2, 1), unit(flat // 2, flat, (1, 3, 3)))
        self.pool = nn.Sequential(nn.MaxPool3d(3, 1, 1), unit(inputs, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, T, H, W)`` to the concatenation of the branches."""
        return torch.cat((self.point(x), self.cube(x), self.flat(x), self.pool(x)), dim=1)


class Dense(nn.Module):
    """Layers, normalised before they convolve, each of which reads all that came before it."""

    def __init__(self, inputs: int, growth: int, layers: int) -> None:
        super().__init__()
        widths = [inputs + growth * index for index in range(layers)]
        self.layers = nn.ModuleList(
            nn.Sequential(norm(width), nn.ReLU(), conv(width, 2 * growth, 1), norm(2 * growth), nn.ReLU(),
                          conv(2 * growth, growth, 3))
            for width in widths
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, T, H, W)`` to ``(N, inputs + layers * growth, T, H, W)``."""
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return x


class Attended(nn.Module):
    """A residual block with CBAM's channel gate, then its gate of places."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(unit(inputs, outputs, 3, stride=stride), conv(outputs, outputs, 3), norm(outputs))
        self.down, self.up = nn.Linear(outputs, outputs // 4), nn.Linear(outputs // 4, outputs)
        self.places = conv(2, 1, (3, 5, 5), bias=True)
        self.short: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.short = nn.Sequential(conv(inputs, outputs, 1, stride=stride), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, T, H, W)`` to ``(N, outputs, ...)``."""
        y = self.body(x)
        flat = y.flatten(2)
        votes = sum(self.up(functional.relu(self.down(pooled))) for pooled in (flat.mean(2), flat.amax(2)))
        y = y * torch.sigmoid(votes)[..., None, None, None]
        seen = torch.cat((y.mean(1, keepdim=True), y.amax(1, keepdim=True)), dim=1)
        y = y * torch.sigmoid(self.places(seen))
        return functional.relu(y + self.short(x))


class Causal(nn.Module):
    """MoViNet's block: what a frame gives depends on no later frame, but for the gate."""

    def __init__(self, inputs: int, wide: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.expand = unit(inputs, wide, 1, act=nn.Hardswish)
        self.depthwise = nn.Conv3d(wide, wide, 3, (1, stride, stride), (0, 1, 1), groups=wide, bias=False)
        self.depthwise_norm = norm(wide)
        self.squeeze = Squeeze(wide, 8, nn.Hardsigmoid)
        self.project = nn.Sequential(conv(wide, outputs, 1), norm(outputs))
        self.same = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, T, H, W)`` to ``(N, outputs, T, ...)``."""
        y = functional.pad(self.expand(x), (0, 0, 0, 0, 2, 0))
        y = functional.hardswish(self.depthwise_norm(self.depthwise(y)))
        y = self.project(self.squeeze(y))
        return x + y if self.same else y


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels at each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, ...)`` to the same shape."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class Next(nn.Module):
    """ConvNeXt's block: depth-wise, normalised over channels, an MLP, a scale for each channel, added."""

    def __init__(self, channels: int, kernel: tuple[int, ...]) -> None:
        super().__init__()
        dims = len(kernel)
        self.depthwise = conv(channels, channels, kernel, groups=channels, dims=dims, bias=True)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.wide, self.narrow = nn.Linear(channels, 3 * channels), nn.Linear(3 * channels, channels)
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, ...)`` to the same shape."""
        y = self.norm(self.depthwise(x).movedim(1, -1))
        y = self.narrow(functional.gelu(self.wide(y))) * self.scale
        return x + y.movedim(-1, 1)
