"""PyTorch in a benchmark: the modules that graphs were exported from, and what the library reaches on this machine."""
