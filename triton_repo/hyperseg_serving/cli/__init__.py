"""Verbs of serving: one file per group."""
