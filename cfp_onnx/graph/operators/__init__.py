"""Which operator does what to channels: one registry, one file per family of operators."""
