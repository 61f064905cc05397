"""Clips: readers of videos, folders, databases and arrays, and how their frames become a network's input."""
