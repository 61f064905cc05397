"""What differs around two layers that are the same one: activations and wires; in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cfp_onnx.matching.pairs import Pair
from cfp_onnx.matching.units import Unit
from cfp_onnx.matching.wording import NAMED, Finding


def explain_activation(a: Unit, b: Unit) -> list[Finding]:
    """An activation that only one of them has; no finding where an Add lies between in one of the files."""
    if (
        bool(a.activation) == bool(b.activation)
        or a.answers(b)
        or (a.joined != b.joined and (b if a.activation else a).joined)
    ):
        return []
    name, side = (a.activation, "B") if a.activation else (b.activation, "A")
    return [Finding(f"an activation ({name}) is missing after it in {side}")]


@dataclass(frozen=True)
class Names:
    """Names of a file's layers and inputs for sentences.

    Attributes:
        layers: Names of layers by index.
        count: Number of layers; indices from there on are inputs.
    """

    layers: Mapping[int, str]
    count: int

    def of(self, owner: int) -> str:
        """The name of a layer or an input."""
        return "the input" if owner >= self.count else repr(self.layers.get(owner, "?"))


def explain_missing(pair: Pair, owners: Mapping[int, int], names: tuple[Names, Names]) -> list[Finding]:
    """Layers and inputs that arrive at a layer in only one of the files.

    Args:
        pair: The layer that reads.
        owners: Layers and inputs of the first file to those of the second.
        names: What both files' layers are called.
    """
    a, b = pair.a, pair.b
    ours, theirs = above(a), above(b)
    lost = sorted(o for o in ours if owners.get(o) not in theirs)
    gained = sorted(theirs - {owners.get(o) for o in ours})
    return [*_missing(lost, names[0], "B", a, b), *_missing(gained, names[1], "A", b, a)]


def explain_path(pair: Pair, names: tuple[Names, Names]) -> list[Finding]:
    """What differs between the layers above and this one, where these are the same in both files.

    Args:
        pair: The layer that reads.
        names: What both files' layers are called.
    """
    if pair.reordered:
        return [_order(pair, at_input=all(o >= names[0].count for o in above(pair.a)))]
    return _steps(pair.a.path, pair.b.path)


def above(unit: Unit) -> set[int]:
    """Layers and inputs that arrive at a layer, gates included."""
    return {int(o) for x in unit.arrivals for o in np.unique(x.owner) if o >= 0}


def _missing(lost: Sequence[int], names: Names, side: str, here: Unit, there: Unit) -> list[Finding]:
    """What arrives at a layer in this file and not in the other: sources of its channels, else gates."""
    carried = [o for o in lost if o in here.carried]
    less = {word: here.path.get(word, 0) > there.path.get(word, 0) for word in ("an Add", "a product")}
    if not lost:
        return []
    who = _several([names.of(o) for o in carried or lost])
    if carried and less["an Add"]:
        return [Finding(f"the shortcut from {who} is missing in {side} at the Add that follows")]
    if not carried and less["a product"]:
        return [Finding(f"the gate from {who} is missing in {side}")]
    return [Finding(f"what comes from {who} does not arrive in {side}")]


def _several(names: Sequence[str]) -> str:
    """Names in a sentence; of many only the last ones, which are the nearest."""
    if len(names) > NAMED // 2:
        return f"{', '.join(names[-1 : -NAMED // 2 - 1 : -1])} and {len(names) - NAMED // 2} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _order(pair: Pair, *, at_input: bool) -> Finding:
    """Channels that arrive in an order that the weights contradict."""
    if at_input:
        places = np.empty_like(pair.wired)
        places[pair.wired] = np.arange(pair.wired.size)
        order = ", ".join(map(str, places[pair.channels].tolist()[:NAMED]))
        hint = " (RGB against BGR)" if order == "2, 1, 0" else ""
        return Finding(f"the input's channels arrive in the order {order} in B{hint}")
    moved = int((pair.channels != pair.wired).sum())
    return Finding(f"{moved} of {pair.a.channels} channels arrive from other kernels: the order of a shuffle differs")


def _steps(ours: Mapping[str, int], theirs: Mapping[str, int]) -> list[Finding]:
    """Operators such as activations and pools that only one of two paths has."""
    lost, gained = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    pools = [[w for w in side if " pool " in w] for side in (lost, gained)]
    if all(pools):
        return [Finding(f"what is pooled differs: {pools[0][0]} in A, {pools[1][0]} in B")]
    found = []
    for words, side in ((lost, "B"), (gained, "A")):
        for word in words:
            kind, _, name = word.partition(" ")
            text = f"an activation ({name})" if kind == "activation" else word
            found.append(Finding(f"{text} is missing in {side}"))
    return found


__all__ = ["Names", "above", "explain_activation", "explain_missing", "explain_path"]
