"""The fused form for maps whose sizes only a call tells: they are an input and no attribute.

References are boxes: a file holds one body of an operator, and a point is a box whose half size over P is a pixel. The
body is that of `onnx_projected` but for where it reads the sizes; there is no kernel of ours yet.
"""

from typing import TYPE_CHECKING

import onnx.parser
from onnx import TensorProto

from hyperseg_kernels import onnx_schema
from hyperseg_kernels.catalog import SIZED_ATTENTION
from hyperseg_kernels.deformable_attention import onnx_op
from hyperseg_kernels.deformable_attention.onnx_projected import FROM_BOXES

if TYPE_CHECKING:
    from onnx import FunctionProto


def register_schema() -> None:
    onnx_schema.register(
        SIZED_ATTENTION,
        "Multi-scale deformable attention from raw projections (arXiv 2010.04159, appendix A.4), sizes as an input.",
        inputs={
            "value": ("T", "(B, S, H, D)"),
            "references": ("tensor(float)", "(1 or B, Q, 1 or L, 4)"),
            "offsets": ("T", "(B, Q, H, L, P, 2)"),
            "logits": ("T", "(B, Q, H, L, P)"),
            "level_sizes": ("tensor(int64)", "(L, 2), height and width"),
        },
        outputs={"output": ("T", "(B, Q, H * D)")},
    )


def function_body(level_count: int, opset: int, value_type: int = TensorProto.FLOAT) -> "FunctionProto":
    """The body, as in `reference.projected_attention` with boxes."""
    signature = _SIGNATURE.format(operator=SIZED_ATTENTION, opset=opset)
    sampling = onnx_op.body_text(level_count, value_type, _SHAPES)
    return onnx.parser.parse_function(f"{signature}{{\n{FROM_BOXES}\n{sampling}\n}}")


_SIGNATURE = """<domain: "{operator.domain}", opset_import: ["" : {opset}]>
{operator.name} (value, references, offsets, logits, level_sizes) => (output)
"""
_SHAPES = """  in_one_row = Constant <value_ints = [-1]> ()
  shapes = Reshape (level_sizes, in_one_row)"""
