"""UniLSeg (arXiv 2312.01623)."""
