"""A network, a clip, and the file that others are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compare_net as net
from compare_net import Spelling

import cfp_onnx as cfp

SEED = 20190524


PLAIN = Spelling()


@dataclass(frozen=True)
class Bench:
    """Weights, a clip, and the file that others are compared with."""

    folder: Path
    weights: dict[str, Any]
    clip: Any
    a: Path

    def other(self, weights: Any = None, spelling: Spelling = PLAIN, name: str = "b.onnx") -> Path:
        return net.write(self.folder / name, self.weights if weights is None else weights, spelling)

    def compare(self, weights: Any = None, spelling: Spelling = PLAIN, **options: Any) -> Any:
        options = {"device": "cpu", "threads": 1, **options}
        return cfp.compare(self.a, self.other(weights, spelling), self.clip, **options)
