"""Where the clips of a run are decoded and explained."""
