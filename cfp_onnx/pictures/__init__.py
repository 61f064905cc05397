"""Pictures and films of tubes, pyramids and curves."""
