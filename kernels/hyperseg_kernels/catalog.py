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

OPERATORS = (DEFORMABLE_ATTENTION,)
