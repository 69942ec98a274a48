"""The operator in ONNX: one node of our own domain, and a function body of standard operators.

The body brings every query to full size, which is what the native kernels avoid: 100 queries on 1920 x 1080 pixels
take several times 830 MB. It is there so that a file with the node runs everywhere.
"""

from typing import TYPE_CHECKING

import onnx.parser

from hyperseg_kernels import onnx_schema
from hyperseg_kernels.catalog import MASK_READOUT
from hyperseg_kernels.mask_readout.axis import TAPS
from hyperseg_kernels.mask_readout.reference import PARTS

if TYPE_CHECKING:
    from onnx import FunctionProto


def register_schema() -> None:
    tables = {
        f"{axis}_{what}": (f"tensor({kind})", f"(4, {size})")
        for axis, size in (("row", "H"), ("column", "W"))
        for what, kind in (("index", "int32"), ("weight", "float"))
    }
    onnx_schema.register(
        MASK_READOUT,
        "Certainty and area of every mask at the size of the image, and the pixels of some.",
        inputs={"mask_logits": ("T", "(B, Q, h, w)"), "shown": ("tensor(int32)", "(B, M)"), **tables},
        outputs={
            "sums": ("tensor(float)", f"(B, Q, {PARTS})"),
            "areas": ("tensor(int32)", f"(B, Q, {PARTS})"),
            "pixels": ("tensor(bool)", "(B, M, H, W)"),
        },
    )


def function_body(opset: int) -> "FunctionProto":
    """The body, as in `reference.read_masks`, computed in float32."""
    rows = [_TAP.format(source="logits", axis="row", dimension=2, shape="upright", k=tap) for tap in range(TAPS)]
    columns = [_TAP.format(source="tall", axis="column", dimension=3, shape="lying", k=tap) for tap in range(TAPS)]
    text = _BODY.format(
        operator=MASK_READOUT,
        opset=opset,
        parts=PARTS,
        but_one=PARTS - 1,
        rows="".join(rows) + _sum("row", "tall"),
        columns="".join(columns) + _sum("column", "wide"),
    )
    return onnx.parser.parse_function(text)


def _sum(axis: str, result: str) -> str:
    """The taps of one axis, added in order."""
    names = [f"{axis}_sum_{tap}" for tap in range(1, TAPS - 1)] + [result]
    lines, total = "", f"{axis}_part_0"
    for tap, name in enumerate(names, start=1):
        lines += f"\n  {name} = Add ({total}, {axis}_part_{tap})"
        total = name
    return lines


# Rows are added up first: a float32 sum of a whole image of equal numbers is off by 1e-4. Rows of zeros make a
# multiple of the parts, so that a reshape deals rows out to them. Pixels are counted in float32, which ONNX Runtime's
# CUDA provider can pad: exact for parts below 2^24 pixels, images below 2^29.
_BODY = """<domain: "{operator.domain}", opset_import: ["" : {opset}]>
{operator.name} (mask_logits, shown, row_index, row_weight, column_index, column_weight) => (sums, areas, pixels) {{
  nothing = Constant <value_float = 0.0> ()
  upright = Constant <value_ints = [-1, 1]> ()
  lying = Constant <value_ints = [1, -1]> ()
  row = Constant <value_ints = [3]> ()
  part = Constant <value_ints = [2]> ()
  dealt = Constant <value_ints = [0, 0, -1, {parts}]> ()
  parts = Constant <value_ints = [{parts}]> ()
  but_one = Constant <value_ints = [{but_one}]> ()
  ends = Constant <value_ints = [2]> ()
  none = Constant <value_ints = [0]> ()
  last = Constant <value_ints = [-1]> ()
  logits = Cast <to = 1> (mask_logits){rows}{columns}
  inside = Greater (wide, nothing)
  certainty = Sigmoid (wide)
  counted = Where (inside, certainty, nothing)
  row_sums = ReduceSum <keepdims = 0> (counted, row)
  ones = Cast <to = 1> (inside)
  row_areas = ReduceSum <keepdims = 0> (ones, row)
  height = Shape <start = 1, end = 2> (row_index)
  fuller = Add (height, but_one)
  rounds = Div (fuller, parts)
  full = Mul (rounds, parts)
  missing = Sub (full, height)
  padding = Concat <axis = 0> (none, missing)
  padded_sums = Pad (row_sums, padding, nothing, ends)
  dealt_sums = Reshape (padded_sums, dealt)
  sums = ReduceSum <keepdims = 0> (dealt_sums, part)
  padded_areas = Pad (row_areas, padding, nothing, ends)
  dealt_areas = Reshape (padded_areas, dealt)
  part_areas = ReduceSum <keepdims = 0> (dealt_areas, part)
  areas = Cast <to = 6> (part_areas)
  queries = Cast <to = 7> (shown)
  places = Unsqueeze (queries, last)
  pixels = GatherND <batch_dims = 1> (inside, places)
}}"""
_TAP = """
  {axis}_{k} = Constant <value_int = {k}> ()
  {axis}_index_{k} = Gather <axis = 0> ({axis}_index, {axis}_{k})
  {axis}_weight_flat_{k} = Gather <axis = 0> ({axis}_weight, {axis}_{k})
  {axis}_weight_{k} = Reshape ({axis}_weight_flat_{k}, {shape})
  {axis}_source_{k} = Gather <axis = {dimension}> ({source}, {axis}_index_{k})
  {axis}_part_{k} = Mul ({axis}_source_{k}, {axis}_weight_{k})"""
