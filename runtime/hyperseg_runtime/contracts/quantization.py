"""How the constant weights of a graph, and what is multiplied with them, are rounded. Constants are symmetric: no zero
points, so that one file is what ONNX Runtime and TensorRT both read.
"""

from enum import StrEnum

from hyperseg_runtime.contracts.graph_spec import DType


class Scheme(StrEnum):
    """Number formats of a quantised layer. The graph's `Precision` is what everything else computes in."""

    INT8 = "int8"
    """Weights per output channel, activations per tensor."""
    FP8 = "fp8"
    """The same in float8 e4m3; Hopper and later."""
    INT4 = "int4"
    """Weights alone, in blocks along the inputs of a layer; products are computed in the graph's precision."""
    INT8_WEIGHTS = "int8-weights"
    """The same in 8 bits."""
    INT8_DYNAMIC = "int8-dynamic"
    """Weights per output channel, activations by the largest of each call: ONNX Runtime alone."""

    @property
    def dtype(self) -> DType:
        """Of the stored weights."""
        return {Scheme.INT4: DType.INT4, Scheme.FP8: DType.FLOAT8}.get(self, DType.INT8)

    @property
    def weights_alone(self) -> bool:
        return self in (Scheme.INT4, Scheme.INT8_WEIGHTS)

    @property
    def has_ranges(self) -> bool:
        """Whether calibration decides how activations are rounded."""
        return self in (Scheme.INT8, Scheme.FP8)
