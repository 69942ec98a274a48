"""The operator in ONNX: one node of our own domain, and a function body of standard operators in int32."""

from typing import TYPE_CHECKING

import onnx.parser

from hyperseg_kernels import onnx_schema
from hyperseg_kernels.catalog import PILLOW_RESIZE
from hyperseg_kernels.pillow_resize.axis import WEIGHT_BITS

if TYPE_CHECKING:
    from onnx import FunctionProto


def register_schema() -> None:
    tables = {
        f"{axis}_{what}": ("tensor(int32)", f"({axis}_taps, {size})")
        for axis, size in (("first_row", "h or H"), ("column", "W"), ("last_row", "H"))
        for what in ("index", "weight")
    }
    onnx_schema.register(
        PILLOW_RESIZE,
        "Pillow's resizing of 8-bit images: rows, columns, rows, each a sum in fixed point that is rounded to a byte.",
        inputs={"pixels": ("T", "(B, h, w, C)"), **tables},
        outputs={"resized": ("T", "(B, H, W, C)")},
    )


def function_body(opset: int) -> "FunctionProto":
    """The body, as in `reference.resize`. Sums stay below 2^31: weights are 2^22 together, and their negative part in
    cubic filters is less than a third of that.
    """
    text = _BODY.format(
        operator=PILLOW_RESIZE,
        opset=opset,
        first=_PASS.format(source="whole", axis="first_row", dimension=1, after="row", result="begun"),
        columns=_PASS.format(source="begun", axis="column", dimension=2, after="column", result="wide"),
        last=_PASS.format(source="wide", axis="last_row", dimension=1, after="row", result="tall"),
        half=1 << (WEIGHT_BITS - 1),
        one=1 << WEIGHT_BITS,
    )
    return onnx.parser.parse_function(text)


# A negative sum becomes 0 before it is divided: whole numbers are divided towards zero.
_BODY = """<domain: "{operator.domain}", opset_import: ["" : {opset}]>
{operator.name} (
  pixels, first_row_index, first_row_weight, column_index, column_weight, last_row_index, last_row_weight)
  => (resized) {{
  half = Constant <value = int32 {{{half}}}> ()
  one = Constant <value = int32 {{{one}}}> ()
  least = Constant <value = int32 {{0}}> ()
  most = Constant <value = int32 {{255}}> ()
  after_column = Constant <value_ints = [2]> ()
  after_row = Constant <value_ints = [2, 3]> ()
  whole = Cast <to = 6> (pixels){first}{columns}{last}
  resized = CastLike (tall, pixels)
}}"""
_PASS = """
  {axis}_taps = Gather <axis = {dimension}> ({source}, {axis}_index)
  {axis}_weights = Unsqueeze ({axis}_weight, after_{after})
  {axis}_parts = Mul ({axis}_taps, {axis}_weights)
  {axis}_dimension = Constant <value_ints = [{dimension}]> ()
  {axis}_sum = ReduceSum <keepdims = 0> ({axis}_parts, {axis}_dimension)
  {axis}_rounded = Add ({axis}_sum, half)
  {axis}_floor = Max ({axis}_rounded, least)
  {axis}_bytes = Div ({axis}_floor, one)
  {result} = Min ({axis}_bytes, most)"""
