"""The fused form in ONNX: a node that takes raw projections, and a body that hands samples to the plain operator.

A runtime that knows this operator never makes the tensor of locations; one that knows the plain operator alone
finds it in the body; every other finds that one's body. A model with this node therefore needs both bodies.
"""

from typing import TYPE_CHECKING

import onnx.parser

from hyperseg_kernels import onnx_schema
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, PLUGIN_ATTRIBUTES, PROJECTED_ATTENTION

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


def function_body(reference_size: int, opset: int) -> "FunctionProto":
    """The body, as in `reference.projected_attention`; `reference_size` is 2 (points) or 4 (boxes).

    Locations and weights are float32 whatever the type of the rest.
    """
    plugin = ", ".join(f'{name} = "{value}"' for name, value in PLUGIN_ATTRIBUTES.items())
    locations = _BOXES if reference_size == 4 else _POINTS
    text = _BODY.format(opset=opset, own=PROJECTED_ATTENTION, plain=DEFORMABLE_ATTENTION, plugin=plugin)
    return onnx.parser.parse_function(text.replace("LOCATIONS", locations))


_BODY = """<domain: "{own.domain}", opset_import: ["" : {opset}, "{plain.domain}" : {plain.version}]>
{own.name} <level_shapes> (value, references, offsets, logits) => (output) {{
  shifts = Cast <to = 1> (offsets)
  scores = Cast <to = 1> (logits)
  scores_shape = Shape (logits)
  per_head = Constant <value_ints = [0, 0, 0, -1]> ()
  flat_scores = Reshape (scores, per_head)
  shares = Softmax <axis = -1> (flat_scores)
  weights = Reshape (shares, scores_shape)
  heads_and_points = Constant <value_ints = [2, 4]> ()
  reference = Unsqueeze (references, heads_and_points)
LOCATIONS
  output = {plain.domain}.{plain.name} <level_shapes: ints = @level_shapes, {plugin}> (value, locations, weights)
}}"""

# An offset is in pixels of its level.
_POINTS = """
  shapes = Constant <value_ints: ints = @level_shapes> ()
  in_pairs = Constant <value_ints = [-1, 1, 2]> ()
  height_width = Reshape (shapes, in_pairs)
  swapped = Constant <value_ints = [1, 0]> ()
  width_height = Gather <axis = 2> (height_width, swapped)
  extents = Cast <to = 1> (width_height)
  moved = Div (shifts, extents)
  locations = Add (reference, moved)"""

# An offset is in units of half the box over the number of points.
_BOXES = """
  half = Constant <value_float = 0.5> ()
  two_two = Constant <value_ints = [2, 2]> ()
  centre, size = Split <axis = -1> (reference, two_two)
  P = Shape <start = 4, end = 5> (offsets)
  points = Cast <to = 1> (P)
  per_point = Div (shifts, points)
  half_size = Mul (size, half)
  moved = Mul (per_point, half_size)
  locations = Add (centre, moved)"""
