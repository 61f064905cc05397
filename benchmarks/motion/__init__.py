"""Synthetic motion clips, and the small video classifier trained on them."""
