"""What a planted circuit says of itself: the clip, the class, and which kernels of which layers hold the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from planted.writer import Feature, Style, Writer

Array = npt.NDArray[Any]

RULES = ("positional", "active", "zplus", "mean", "published")
"""Rules that the tables speak of, each with what it holds by itself."""

FIELDS = RULES[:3]
LIVE = RULES[:1]
"""Rules that let go what steers."""


@dataclass(frozen=True)
class Plant:
    """The answer in one layer.

    Attributes:
        layer: Name of the layer.
        kernels: Kernels that must lie above all others.
        against: Kernels that must lie below all others, and below 0.
        silent: Kernels whose removal changes nothing, though they may fire: the field rules must give them 0.
        equal: Whether the planted kernels count the same.
        cancels: Whether what speaks for and what speaks against add up to nothing.
        needs: What has to be let go for the answer to be seen: ``norms``, ``attention`` or ``gates``; only rules that
            let it go see the answer then.
        blind: Other rules that do not see it: those that take no sign, or put one number in the place of a map.
        spelling_decides: Rules that see it in some spellings alone.
    """

    layer: str
    kernels: tuple[int, ...] = ()
    against: tuple[int, ...] = ()
    silent: tuple[int, ...] = ()
    equal: bool = False
    cancels: bool = False
    needs: str | None = None
    blind: tuple[str, ...] = ()
    spelling_decides: tuple[str, ...] = ()

    def seen_by(self, rule: str, hold: tuple[str, ...] = ()) -> bool:
        """Whether a rule that holds something finds the planted kernels."""
        live = self.needs is None or (rule in LIVE and self.needs not in hold)
        return live and rule not in self.blind


@dataclass(frozen=True)
class Circuit:
    """A network whose answer is known because its weights were written down for it.

    Attributes:
        name: What it is.
        write: Writes the network from the clip's tensor on and returns the tensor of the classes' scores.
        clip: The clip, (1, C, T, H, W) float32.
        styles: Its spellings.
        plants: The answer, layer by layer.
        grain: Size of the random part of every weight; 0 where some kernels must count for nothing at all.
        other: A clip without the planted thing, on which class 0 is not the top class; None where there is none.
    """

    name: str
    write: Callable[[Writer, str], str]
    clip: Callable[[], Array]
    styles: Sequence[Style]
    plants: tuple[Plant, ...]
    grain: float = 0.0
    other: Callable[[], Array] | None = None


@dataclass(frozen=True)
class Written:
    """A circuit in one spelling; class 0 is the one explained.

    Attributes:
        circuit: The circuit.
        model: The file.
        feeds: The clip as the file takes it.
        features: Where each named layer's kernels can be removed.
        logits: Tensor of the classes' scores, before a final softmax.
    """

    circuit: Circuit
    model: onnx.ModelProto
    feeds: dict[str, Array]
    features: dict[str, Feature]
    logits: str


def written(circuit: Circuit, style: Style) -> Written:
    """Write a circuit in one spelling."""
    clip = circuit.clip()
    writer = Writer(style, clip.shape, circuit.grain)
    logits = circuit.write(writer, writer.clip())
    model = writer.finish(logits)
    return Written(circuit, model, {"clip": clip}, writer.features, writer.logits)


def noise(shape: Sequence[int], size: float = 0.02, seed: int = 5) -> Array:
    """A faint background, (1, C, T, H, W) float32, so that no two kernels are equal by accident."""
    return (size * np.random.default_rng(seed).random((1, *shape))).astype(np.float32)
