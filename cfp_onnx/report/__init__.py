"""Pages for people: one HTML file with everything inside, for a browser without a network."""
