"""InstructSeg (arXiv 2412.14006)."""
