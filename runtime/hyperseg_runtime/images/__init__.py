"""Pixels: reading files and frames, resizing, what a network takes."""
