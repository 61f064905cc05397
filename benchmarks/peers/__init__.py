"""Scores of single kernels by others' methods, in PyTorch; runs in an environment of its own."""
