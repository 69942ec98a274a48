"""Graphs run by OpenVINO on x86 CPUs: bfloat16 and int8 where the processor has instructions for them."""

from hyperseg_runtime.backends.openvino.backend import OpenVinoBackend

__all__ = ["OpenVinoBackend"]
