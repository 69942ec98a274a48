"""CUDA without a toolkit: sources, their compiler (NVRTC), the driver, launches from torch."""
