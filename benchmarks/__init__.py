"""Benchmarks that measure the analyser against known ground truth."""
