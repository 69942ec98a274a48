"""Names of our operators as they stand in ONNX files. Importable everywhere: needs neither torch nor onnx."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OperatorName:
    domain: str
    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.domain}::{self.name}"


DEFORMABLE_ATTENTION = OperatorName("hyperseg", "MultiScaleDeformableAttention", 1)
PROJECTED_ATTENTION = OperatorName("hyperseg", "ProjectedDeformableAttention", 1)
SIZED_ATTENTION = OperatorName("hyperseg", "SizedDeformableAttention", 1)
MASK_READOUT = OperatorName("hyperseg", "MaskReadout", 1)
PILLOW_RESIZE = OperatorName("hyperseg", "PillowResize", 1)

KERNELS = (DEFORMABLE_ATTENTION, PROJECTED_ATTENTION, MASK_READOUT, PILLOW_RESIZE)
"""What the plugins know."""
OPERATORS = (*KERNELS, SIZED_ATTENTION)
"""What exported files may hold. Every one has a body; runtimes have no other form of those that are no kernels."""

PLUGIN_ATTRIBUTES = {"plugin_namespace": "hyperseg", "plugin_version": "1"}
"""A TensorRT parser looks for a registered plugin when a node carries these, and else takes the node's body."""
