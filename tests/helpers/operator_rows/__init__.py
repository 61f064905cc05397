"""One row of test data per operator, one file per family of operators, and more rows for their further forms."""

from __future__ import annotations

from operator_rows import (
    activations,
    arithmetic,
    choice,
    fused,
    movement,
    normalisation,
    pooling,
    products,
    reduction,
    resize,
)
from operator_rows.row import Row

_FAMILIES = (activations, arithmetic, choice, fused, movement, normalisation, pooling, products, reduction, resize)

ROWS: tuple[Row, ...] = tuple(row for family in _FAMILIES for row in family.ROWS)
"""One for each operator."""

CASES: tuple[Row, ...] = tuple(row for family in _FAMILIES for row in family.CASES)
"""Further forms of operators."""

__all__ = ["CASES", "ROWS", "Row"]
