"""A model and a clip in, a class feature pyramid out."""
