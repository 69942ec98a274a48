"""Operators of our own: one folder per operator, the same file names in each. Knows tensors, not models."""
