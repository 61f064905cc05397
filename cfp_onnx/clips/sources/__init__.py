"""One reader for each kind of clip."""
