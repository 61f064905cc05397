"""What a rule may keep at its recorded value, so that a kernel's removal is asked about with it held."""

from __future__ import annotations

HOLDS = ("norms", "attention", "gates")
"""A norm's deviation, the weights of an attention, gates (docs/method.md)."""
