"""Which layer and kernel of one network is which of another."""
