"""Whether two files are one network, and where they part."""
