"""Many images, one after another or on many machines: what is done stays, and what failed is told."""
