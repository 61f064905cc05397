"""Whether a file still decides as its baseline did, for the same reasons."""
