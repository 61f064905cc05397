"""The zoo's networks of tokens: vision transformers, and attention over a pooled grid. Needs PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.blocks import CONV, conv

Grid = tuple[int, int, int]


def heads_of(x: Tensor, heads: int) -> Tensor:
    """``(N, L, C)`` as ``(N, heads, L, C / heads)``."""
    n, length, channels = x.shape
    return x.reshape(n, length, heads, channels // heads).transpose(1, 2)


class Attention(nn.Module):
    """Softmax attention of tokens to each other.

    Args:
        width: Channels.
        heads: Heads.
        fused: Whether PyTorch's own operator is used; else products and a softmax.
    """

    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, C)`` to the same shape."""
        query, key, value = (heads_of(part, self.heads) for part in self.qkv(x).chunk(3, dim=2))
        if self.fused:
            y = functional.scaled_dot_product_attention(query, key, value)
        else:
            scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
            y = scores.softmax(3) @ value
        return self.out(y.transpose(1, 2).reshape(x.shape))


class Mlp(nn.Sequential):
    """Two dense layers with GELU between them."""

    def __init__(self, width: int, wide: int, outputs: int | None = None) -> None:
        super().__init__(nn.Linear(width, wide), nn.GELU(), nn.Linear(wide, outputs or width))


class Encoder(nn.Module):
    """A transformer's block, normalised before each part."""

    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attention(width, heads, fused=fused), Mlp(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, C)`` to the same shape."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Vit(nn.Module):
    """A vision transformer over patches of a clip, picture or signal.

    Args:
        classes: Number of classes.
        shape: The input's size without batch and channels.
        patch: A patch's size.
        channels: The input's channels.
        width: Channels of a token.
        blocks: Number of blocks.
        class_token: Whether a token of its own gives the answer; else the mean over all tokens.
        fused: As for ``Attention``.
    """

    def __init__(
        self,
        classes: int,
        *,
        shape: tuple[int, ...],
        patch: tuple[int, ...],
        channels: int = 3,
        width: int = 40,
        blocks: int = 3,
        class_token: bool = False,
        fused: bool = False,
    ) -> None:
        super().__init__()
        count = math.prod(s // p for s, p in zip(shape, patch, strict=True)) + class_token
        self.patches = CONV[len(shape)](channels, width, patch, patch)
        self.places = nn.Parameter(0.1 * torch.randn(1, count, width))
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.blocks = nn.ModuleList(Encoder(width, 4, fused=fused) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """Map ``(N, channels, *shape)`` to logits ``(N, classes)``."""
        x = self.patches(clip).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1)
        x = x + self.places
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x.mean(1) if self.token is None else x[:, 0])


class PooledAttention(nn.Module):
    """MViT's attention: queries, keys and values are pooled over the grid by depth-wise convolutions.

    Args:
        width: Channels.
        heads: Heads.
        pool: Stride of the queries' pooling, which shrinks the grid.
        squeeze: Stride of the keys' and values' pooling.
    """

    def __init__(self, width: int, heads: int, *, pool: Grid, squeeze: Grid) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.pool_query = conv(width, width, 3, stride=pool, groups=width)
        self.pool_key = conv(width, width, 3, stride=squeeze, groups=width)
        self.pool_value = conv(width, width, 3, stride=squeeze, groups=width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map a grid of tokens ``(N, T, H, W, C)`` to a grid that is divided by the queries' stride."""
        layers = (self.query, self.key, self.value)
        pools = (self.pool_query, self.pool_key, self.pool_value)
        parts = []
        for layer, pool, norm in zip(layers, pools, self.norms, strict=True):
            grid = pool(layer(x).permute(0, 4, 1, 2, 3))
            size = grid.shape[2:]
            parts.append(heads_of(norm(grid.flatten(2).transpose(1, 2)), self.heads))
            if layer is self.query:
                shape = size
        query, key, value = parts
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        y = (scores.softmax(3) @ value + query).transpose(1, 2).flatten(2)
        return self.out(y).unflatten(1, shape)


class PooledBlock(nn.Module):
    """MViT's block, which may shrink the grid and widen the tokens."""

    def __init__(self, width: int, outputs: int, heads: int, *, pool: Grid, squeeze: Grid) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = PooledAttention(width, heads, pool=pool, squeeze=squeeze)
        self.mlp = Mlp(width, 2 * width, outputs)
        self.short = nn.MaxPool3d(pool) if max(pool) > 1 else nn.Identity()
        self.widen = nn.Linear(width, outputs) if width != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Map a grid ``(N, T, H, W, width)`` to ``(N, ..., outputs)``."""
        short = self.short(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        x = short + self.attention(self.attention_norm(x))
        y = self.mlp_norm(x)
        return (x if self.widen is None else self.widen(y)) + self.mlp(y)


class Mvit(nn.Module):
    """A transformer over a grid of tokens that shrinks, with keys and values on a coarser grid."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.patches = conv(3, 24, 3, stride=(2, 2, 2), bias=True)
        self.places = nn.Parameter(0.1 * torch.randn(1, 4, 8, 8, 24))
        self.blocks = nn.Sequential(
            PooledBlock(24, 24, 2, pool=(1, 1, 1), squeeze=(1, 2, 2)),
            PooledBlock(24, 48, 2, pool=(1, 2, 2), squeeze=(1, 2, 2)),
            PooledBlock(48, 48, 4, pool=(1, 1, 1), squeeze=(1, 1, 1)),
        )
        self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """Map ``(N, 3, 8, 16, 16)`` to logits ``(N, classes)``."""
        x = self.blocks(self.patches(clip).permute(0, 2, 3, 4, 1) + self.places)
        return self.head(self.norm(x).flatten(1, 3).mean(1))
