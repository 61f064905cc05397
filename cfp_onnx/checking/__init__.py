"""Baselines and checks: what is kept of a model, and what a later file is judged by."""
