"""Engines on a GPU: TensorRT runs them, cuda-python gives memory, streams and graphs."""

from hyperseg_runtime.backends.tensorrt.backend import TensorRTBackend

__all__ = ["TensorRTBackend"]
