"""Is the relevance true? Agreement of every rule with the real removal of single kernels (docs/method.md)."""

from __future__ import annotations

from benchmarks.truth.ablation import Ablation, Suffix, class_logits, contrasts, falls, judged
from benchmarks.truth.figures import Agreement, agreement, best, ranks, spearman
from benchmarks.truth.measuring import Measured, measure
from benchmarks.truth.subjects import Subject, of_file, of_zoo
from benchmarks.truth.tables import FIGURES, Table, markdown
from benchmarks.truth.variants import VARIANTS, Variant, available, named

__all__ = [
    "FIGURES", "VARIANTS", "Ablation", "Agreement", "Measured", "Subject", "Suffix", "Table", "Variant", "agreement",
    "available", "best", "class_logits", "contrasts", "falls", "judged", "markdown", "measure", "named", "of_file",
    "of_zoo", "ranks", "spearman",
]  # fmt: skip
