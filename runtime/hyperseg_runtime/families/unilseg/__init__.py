"""UniLSeg (arXiv 2312.01623): one image and one sentence to one mask of any granularity."""
