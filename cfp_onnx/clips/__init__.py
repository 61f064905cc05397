"""From a clip as people keep it to the arrays that a network takes."""
