"""Graphs run by ONNX Runtime: the default, on any CPU."""

from hyperseg_runtime.backends.onnxruntime.backend import OnnxRuntimeBackend

__all__ = ["OnnxRuntimeBackend"]
