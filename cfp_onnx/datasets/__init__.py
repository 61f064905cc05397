"""Whole data sets: their clips as manifests, runs over them, and what a class's clips have in common."""
