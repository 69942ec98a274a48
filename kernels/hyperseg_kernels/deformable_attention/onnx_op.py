"""The operator in ONNX: one node of our own domain, and a function body of standard operators.

The node lets a runtime that knows the operator run its own kernel; every other runtime inlines the body,
so the same file runs everywhere. The body gathers bilinear corners and avoids GridSample for the reason
given in `reference.py`.
"""

from typing import TYPE_CHECKING

import onnx.parser
from onnx import TensorProto

from hyperseg_kernels import onnx_schema
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION

if TYPE_CHECKING:
    from onnx import FunctionProto

ATTRIBUTE_SHAPES = "  shapes = Constant <value_ints: ints = @level_shapes> ()"


def register_schema() -> None:
    onnx_schema.register(
        DEFORMABLE_ATTENTION,
        "Multi-scale deformable attention (arXiv 2010.04159, equation 3).",
        inputs={
            "value": ("T", "(B, S, H, D)"),
            "sampling_locations": ("tensor(float)", "(B, Q, H, L, P, 2)"),
            "attention_weights": ("tensor(float)", "(B, Q, H, L, P)"),
        },
        outputs={"output": ("T", "(B, Q, H * D)")},
        ints=["level_shapes"],
    )


def function_body(level_count: int, opset: int, value_type: int = TensorProto.FLOAT) -> "FunctionProto":
    """The body for `level_count` levels, as in `reference.deformable_attention`.

    `value_type` is the ONNX type of value and output: FLOAT, FLOAT16 or BFLOAT16. Everything inside is float32,
    as are locations and weights: a 16-bit coordinate is off by up to 1/32 pixel on a map 128 wide.

    Every level gets a border of zeros and every sample is moved onto the bordered map, so no corner needs a
    validity test of its own: a sample outside lands on zeros, and so does NaN.
    """
    signature = _SIGNATURE.format(domain=DEFORMABLE_ATTENTION.domain, name=DEFORMABLE_ATTENTION.name, opset=opset)
    return onnx.parser.parse_function(signature + "{\n" + body_text(level_count, value_type) + "\n}")


def body_text(level_count: int, value_type: int, shapes: str = ATTRIBUTE_SHAPES) -> str:
    """The body alone: from value, sampling_locations and attention_weights to output.

    `shapes` is a line that makes `shapes`, heights and widths in turn: of the attribute level_shapes, or of an input.
    """
    wide = value_type == TensorProto.FLOAT
    header = shapes + _HEADER
    lines = [header] if wide else ["  value_f32 = Cast <to = 1> (value)", header]
    value = "value" if wide else "value_f32"
    for level in range(level_count):
        axes = {axis: _AXIS.format(l=level, a=axis) for axis in ("x", "y")}
        lines.append(_LEVEL.format(l=level, next=level + 1, h=2 * level, w=2 * level + 1, value=value, **axes))
    total = "sampled_0"
    for level in range(1, level_count):
        lines.append(f"  total_{level} = Add ({total}, sampled_{level})")
        total = f"total_{level}"
    lines.append(_FOOTER.format(total=total, output="output" if wide else "output_f32"))
    if not wide:
        lines.append(f"  output = Cast <to = {value_type}> (output_f32)")
    return "\n".join(lines)


_SIGNATURE = """<domain: "{domain}", opset_import: ["" : {opset}]>
{name} <level_shapes> (value, sampling_locations, attention_weights) => (output)
"""

# B batch, S rows of all levels, H heads, D channels per head, Q queries, P points.
# Border: one pixel before, two after. A coordinate is kept within -1..size, so its lower corner lies in
# -1..size and its upper one in 0..size + 1. x and y are separate tensors because ONNX Runtime is slow at
# broadcasting along a short last axis.
_HEADER = """
  minus_one = Constant <value_ints = [-1]> ()
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  border = Constant <value_ints = [3]> ()
  border_pads = Constant <value_ints = [0, 1, 1, 0, 0, 2, 2, 0]> ()
  first = Constant <value_int = 0> ()
  second = Constant <value_int = 1> ()
  half = Constant <value_float = 0.5> ()
  unit = Constant <value_float = 1.0> ()
  lowest = Constant <value_float = -1.0> ()
  B = Shape <start = 0, end = 1> (value)
  H = Shape <start = 2, end = 3> (value)
  D = Shape <start = 3, end = 4> (value)
  Q = Shape <start = 1, end = 2> (sampling_locations)
  shape_rows = Concat <axis = 0> (minus_one, D)
  shape_flat = Concat <axis = 0> (B, minus_one, H, D)
  shape_bh11 = Concat <axis = 0> (B, H, one, one)
  shape_bhq1k = Concat <axis = 0> (B, H, Q, one, minus_one)
  shape_bqc = Concat <axis = 0> (B, Q, minus_one)
  BH = Mul (B, H)
  BH_scalar = Squeeze (BH)
  image_head_flat = Range (first, BH_scalar, second)
  image_head = Reshape (image_head_flat, shape_bh11)
  locations = Transpose <perm = [5, 0, 2, 3, 1, 4]> (sampling_locations)
  x_all = Gather <axis = 0> (locations, first)
  y_all = Gather <axis = 0> (locations, second)
  attention = Transpose <perm = [0, 2, 3, 1, 4]> (attention_weights)
  start_0 = Identity (zero)"""
_LEVEL = """
  h_index_{l} = Constant <value_ints = [{h}]> ()
  w_index_{l} = Constant <value_ints = [{w}]> ()
  level_{l} = Constant <value_int = {l}> ()
  height_{l} = Gather (shapes, h_index_{l})
  width_{l} = Gather (shapes, w_index_{l})
  area_{l} = Mul (height_{l}, width_{l})
  start_{next} = Add (start_{l}, area_{l})
  level_rows_{l} = Slice ({value}, start_{l}, start_{next}, one)
  shape_map_{l} = Concat <axis = 0> (B, height_{l}, width_{l}, minus_one)
  map_{l} = Reshape (level_rows_{l}, shape_map_{l})
  padded_{l} = Pad (map_{l}, border_pads)
  flat_{l} = Reshape (padded_{l}, shape_flat)
  bhrd_{l} = Transpose <perm = [0, 2, 1, 3]> (flat_{l})
  rows_{l} = Reshape (bhrd_{l}, shape_rows)
  stride_{l} = Add (width_{l}, border)
  lines_{l} = Add (height_{l}, border)
  rows_per_head_{l} = Mul (stride_{l}, lines_{l})
  head_row_{l} = Mul (image_head, rows_per_head_{l})
  stride_1_{l} = Add (stride_{l}, one)
  corner_00_{l} = Add (head_row_{l}, stride_1_{l})
  x_size_{l} = Cast <to = 1> (width_{l})
  y_size_{l} = Cast <to = 1> (height_{l})
{x}
{y}
  line_{l} = Mul (y_cell_{l}, stride_{l})
  cell_{l} = Add (line_{l}, x_cell_{l})
  row_00_{l} = Add (cell_{l}, corner_00_{l})
  row_01_{l} = Add (row_00_{l}, one)
  row_10_{l} = Add (row_00_{l}, stride_{l})
  row_11_{l} = Add (row_00_{l}, stride_1_{l})
  corner_rows_{l} = Concat <axis = -1> (row_00_{l}, row_01_{l}, row_10_{l}, row_11_{l})
  samples_{l} = Gather <axis = 0> (rows_{l}, corner_rows_{l})
  attention_{l} = Gather <axis = 2> (attention, level_{l})
  upper_{l} = Mul (attention_{l}, y_near_{l})
  lower_{l} = Mul (attention_{l}, y_far_{l})
  scale_00_{l} = Mul (upper_{l}, x_near_{l})
  scale_01_{l} = Mul (upper_{l}, x_far_{l})
  scale_10_{l} = Mul (lower_{l}, x_near_{l})
  scale_11_{l} = Mul (lower_{l}, x_far_{l})
  scale_{l} = Concat <axis = -1> (scale_00_{l}, scale_01_{l}, scale_10_{l}, scale_11_{l})
  scale_bhq1k_{l} = Reshape (scale_{l}, shape_bhq1k)
  sampled_{l} = MatMul (scale_bhq1k_{l}, samples_{l})"""
_AXIS = """
  {a}_location_{l} = Gather <axis = 2> ({a}_all, level_{l})
  {a}_scaled_{l} = Mul ({a}_location_{l}, {a}_size_{l})
  {a}_any_{l} = Sub ({a}_scaled_{l}, half)
  {a}_is_number_{l} = Equal ({a}_any_{l}, {a}_any_{l})
  {a}_number_{l} = Where ({a}_is_number_{l}, {a}_any_{l}, {a}_size_{l})
  {a}_low_{l} = Max ({a}_number_{l}, lowest)
  {a}_{l} = Min ({a}_low_{l}, {a}_size_{l})
  {a}_floor_{l} = Floor ({a}_{l})
  {a}_far_{l} = Sub ({a}_{l}, {a}_floor_{l})
  {a}_near_{l} = Sub (unit, {a}_far_{l})
  {a}_cell_{l} = Cast <to = 7> ({a}_floor_{l})"""
_FOOTER = """
  total_bqh1d = Transpose <perm = [0, 2, 1, 3, 4]> ({total})
  {output} = Reshape (total_bqh1d, shape_bqc)"""
