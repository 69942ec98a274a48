"""The ahead-of-time TensorRT plugins of all operators; `register` makes them known.

The kernel goes into the engine and nothing ships beside it. It is compiled for one GPU architecture and for the sizes
of the layer, which the engine keeps. TensorRT 11.4 calls this interface experimental;
kernels/README.md compares it with the C++ plugins.
"""

from hyperseg_kernels.deformable_attention import tensorrt_aot as attention
from hyperseg_kernels.mask_readout import tensorrt_aot as readout


def register(architecture: str) -> None:
    """Before a network with our nodes is parsed; once per process. The process that only runs the engine needs
    nothing. `architecture` is that of the GPU the engine is for, like "sm_90". Raises ImportError without TensorRT."""
    attention.register_given(architecture)
    attention.register_projected(architecture)
    readout.register(architecture)
