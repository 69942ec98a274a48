"""Measuring bundles: latency and quality. Imports no torch."""
