"""Small trained networks of many kinds, and the synthetic clips that they are trained and judged on."""
