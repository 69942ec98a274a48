"""Scores and masks at the size of the image, without a full-size map per query (hyperseg-spec 6.8)."""
