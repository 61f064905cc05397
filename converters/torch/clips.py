"""Random clips, and what PyTorch itself computes for them before any export."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from contract import MIXING, Array, Clip, Refusal, Request, close, output_names, random_clip, same_beside
from torch import Tensor

if TYPE_CHECKING:
    from sources import Source


class Clips:
    """Three random clips with the network's outputs: two of batch 1 and one of batch 2, or all of the fixed batch.

    Attributes:
        fixed: The batch that the graph must be written for, or None where it may vary.
        inputs: The clips, arrays by input name.
        outputs: The network's outputs on each.

    Raises:
        Refusal: If the network fails, still trains, or is bound to another batch.
    """

    def __init__(self, request: Request, shapes: Mapping[str, Sequence[int]], source: Source) -> None:
        self.fixed = request.fixed or source.fixed
        if source.fixed is not None and self.fixed != source.fixed:
            raise Refusal(f"the source is bound to a batch of {source.fixed}; give --batch {source.fixed}")
        if source.fixed is not None and request.fixed is None:
            source.notes.append(f"the batch is fixed at {source.fixed}, as it is in the source")
        self.source, self.shapes, self.seed = source, shapes, request.seed
        rng = np.random.default_rng(self.seed)
        batches = (self.fixed,) * 3 if self.fixed else (1, 1, 2)
        self.inputs = [random_clip(rng, shapes, n, offset) for n, offset in zip(batches, (0.0, 0.5, 0.0), strict=True)]
        self.outputs = [self.run(clip) for clip in self.inputs[:2]]
        if self.fixed is None:
            self.try_two()
        else:
            self.outputs.append(self.run(self.inputs[2]))

    def run(self, clip: Clip) -> list[Array]:
        """The network's outputs on one clip.

        Raises:
            Refusal: If it fails, is random, or returns no float tensors.
        """
        first, second = (run(self.source.network, clip) for _ in range(2))
        if not any(t.is_floating_point() for t in first) or any(t.is_complex() for t in first):
            raise Refusal("the network returns no float tensors; export the part of it that returns the logits")
        ours, again = ([(t.float() if t.is_floating_point() else t).numpy() for t in out] for out in (first, second))
        if not close(ours, again, MIXING):
            raise Refusal(
                "the network gives other outputs when it is run again on the same clip (dropout, or batch norm that "
                "learns?); call model.eval() before it is saved"
            )
        return ours

    def try_two(self) -> None:
        """Runs two clips at once, where nothing fixes the batch.

        Raises:
            Refusal: If a clip's outputs depend on the other clip.
        """
        together = same_beside(self.run, self.inputs[:2], self.outputs)
        if together is None:
            self.fix_at_one("the network does not take two clips at once")
            return
        if not together:
            raise Refusal(
                "a clip's outputs change with the clip beside it: batch norm is in training mode, or clips are "
                "mixed; call model.eval() before it is saved, or give --batch 1 if that is meant"
            )
        self.outputs.append(self.run(self.inputs[2]))

    def fix_at_one(self, why: str) -> None:
        """Leaves batches of one clip only."""
        self.fixed = 1
        self.source.notes.append(f"the batch is fixed at 1: {why}")
        self.inputs[2] = random_clip(np.random.default_rng(self.seed + 1), self.shapes, 1, -0.5)
        self.outputs[2:] = [self.run(self.inputs[2])]

    def examples(self) -> tuple[Tensor, ...]:
        """Clips to trace with; two of them where the batch is dynamic, since a batch of one is taken for a constant."""
        return tuple(map(torch.from_numpy, self.inputs[0 if self.fixed else 2].values()))

    @property
    def output_names(self) -> list[str]:
        """A name for each output."""
        return output_names(len(self.outputs[0]))

    def answered(self) -> list[tuple[Clip, dict[str, Array]]]:
        """The clips with their outputs by name, those of integers behind the others."""
        named = [sorted(zip(self.output_names, out, strict=True), key=lambda o: o[1].dtype.kind != "f")
                 for out in self.outputs]  # fmt: skip
        return list(zip(self.inputs, map(dict, named), strict=True))


def run(network: Callable[..., Any], clip: Clip) -> list[Tensor]:
    """A network's tensors on one clip.

    Raises:
        Refusal: If it fails.
    """
    try:
        with torch.no_grad():
            return flat(network(*map(torch.from_numpy, clip.values())))
    except Refusal:
        raise
    except Exception as error:  # it is the user's code
        sizes = ", ".join(str(array.shape) for array in clip.values())
        said = last_line(error)
        advice = (
            "it computes in another float than float32 by itself; take its casts out, or save it after .float()"
            if re.search(r"scalar type|should be the same|same dtype", said)
            else "check --input-shape, and the network's own code"
        )
        raise Refusal(f"the network does not take an input of {sizes} ({said}); {advice}") from error


def flat(value: Any) -> list[Tensor]:
    """Tensors of nested tuples, lists and dicts, in the exporter's order."""
    return [leaf.detach() for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]  # noqa: SLF001 - as the exporter itself flattens


def last_line(error: BaseException) -> str:
    """The last line of a message, where TorchScript says what went wrong; the error's name where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
