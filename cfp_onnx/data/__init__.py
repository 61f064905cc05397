"""The demonstration model and clip; benchmarks/motion/README.md in the sources tells how they were made."""
