"""What a network's graph says: how channels flow, and which layers, branches and fibers they connect."""
