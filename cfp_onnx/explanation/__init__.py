"""Explaining: a network and its sessions, a run by each kind of rule, and the pyramid made of it."""
