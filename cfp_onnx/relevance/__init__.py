"""How relevance is handed down from a class to every kernel: the rules and their walks."""
