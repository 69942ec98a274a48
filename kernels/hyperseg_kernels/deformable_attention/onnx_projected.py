"""The fused form in ONNX: a node that takes raw projections, and a body that makes samples of them first.

A runtime that knows this operator never makes the tensor of locations. The plain operator's body is written out here
and not called: TensorRT-RTX 1.7.1's parser loses an attribute that one body hands on to the next ("Invalid Node ...
indices.empty()"). The text is the same, so nothing else differs; can go when a model with the call parses.
"""

from typing import TYPE_CHECKING

import onnx.parser
from onnx import TensorProto

from hyperseg_kernels import onnx_schema
from hyperseg_kernels.catalog import PROJECTED_ATTENTION
from hyperseg_kernels.deformable_attention import onnx_op

if TYPE_CHECKING:
    from onnx import FunctionProto


def register_schema() -> None:
    onnx_schema.register(
        PROJECTED_ATTENTION,
        "Multi-scale deformable attention from raw projections (arXiv 2010.04159, appendix A.4).",
        inputs={
            "value": ("T", "(B, S, H, D)"),
            "references": ("tensor(float)", "(1 or B, Q, 1 or L, 2 or 4)"),
            "offsets": ("T", "(B, Q, H, L, P, 2)"),
            "logits": ("T", "(B, Q, H, L, P)"),
        },
        outputs={"output": ("T", "(B, Q, H * D)")},
        ints=["level_shapes"],
    )


def function_body(
    reference_size: int, level_count: int, opset: int, value_type: int = TensorProto.FLOAT
) -> "FunctionProto":
    """The body, as in `reference.projected_attention`; `reference_size` is 2 (points) or 4 (boxes).

    Everything inside is float32, as in the plain operator's body; `value_type` is the type of all but the references.
    """
    locations = FROM_BOXES if reference_size == 4 else FROM_POINTS
    signature = _SIGNATURE.format(operator=PROJECTED_ATTENTION, opset=opset)
    sampling = onnx_op.body_text(level_count, value_type)
    return onnx.parser.parse_function(f"{signature}{{\n{locations}\n{sampling}\n}}")


_SIGNATURE = """<domain: "{operator.domain}", opset_import: ["" : {opset}]>
{operator.name} <level_shapes> (value, references, offsets, logits) => (output)
"""
_WEIGHTS = """
  shifts = Cast <to = 1> (offsets)
  scores = Cast <to = 1> (logits)
  scores_shape = Shape (logits)
  per_head = Constant <value_ints = [0, 0, 0, -1]> ()
  flat_scores = Reshape (scores, per_head)
  shares = Softmax <axis = -1> (flat_scores)
  attention_weights = Reshape (shares, scores_shape)
  heads_and_points = Constant <value_ints = [2, 4]> ()
  reference = Unsqueeze (references, heads_and_points)"""

# An offset is in pixels of its level.
FROM_POINTS = (
    _WEIGHTS
    + """
  extents_flat = Constant <value_ints: ints = @level_shapes> ()
  in_pairs = Constant <value_ints = [-1, 1, 2]> ()
  height_width = Reshape (extents_flat, in_pairs)
  swapped = Constant <value_ints = [1, 0]> ()
  width_height = Gather <axis = 2> (height_width, swapped)
  extents = Cast <to = 1> (width_height)
  moved = Div (shifts, extents)
  sampling_locations = Add (reference, moved)"""
)

# An offset is in units of half the box over the number of points.
FROM_BOXES = (
    _WEIGHTS
    + """
  half_unit = Constant <value_float = 0.5> ()
  two_two = Constant <value_ints = [2, 2]> ()
  centre, size = Split <axis = -1> (reference, two_two)
  P = Shape <start = 4, end = 5> (offsets)
  points = Cast <to = 1> (P)
  per_point = Div (shifts, points)
  half_size = Mul (size, half_unit)
  moved = Mul (per_point, half_size)
  sampling_locations = Add (centre, moved)"""
)
