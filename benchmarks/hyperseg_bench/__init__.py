"""Latency and quality of bundles: measured, compared, reported. Never imports torch."""
