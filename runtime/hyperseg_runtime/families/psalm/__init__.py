"""PSALM (arXiv 2403.14598)."""
