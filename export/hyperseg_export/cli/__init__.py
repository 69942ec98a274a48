"""Verbs of the exporter: one file per verb."""
