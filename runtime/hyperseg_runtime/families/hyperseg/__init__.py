"""HyperSeg (arXiv 2411.17606)."""
