"""Another function body of the operator, on GridSample: for ONNX Runtime on a CPU, where it needs less time.

Not for TensorRT (10.14-11.1 computes it silently wrong, NVIDIA/TensorRT#4813) and only for finite locations:
what GridSample reads for NaN is undefined. Exported files carry the body of `onnx_op`.
"""

from typing import TYPE_CHECKING

import onnx.parser

from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION

if TYPE_CHECKING:
    from onnx import FunctionProto


def function_body(level_count: int, opset: int) -> "FunctionProto":
    """The body for `level_count` levels; float32, finite locations."""
    lines = [_HEADER]
    lines += [_LEVEL.format(l=level, next=level + 1, h=2 * level, w=2 * level + 1) for level in range(level_count)]
    total = "sampled_0"
    for level in range(1, level_count):
        lines.append(f"  total_{level} = Add ({total}, sampled_{level})")
        total = f"total_{level}"
    lines.append(_FOOTER.format(total=total))
    signature = _SIGNATURE.format(domain=DEFORMABLE_ATTENTION.domain, name=DEFORMABLE_ATTENTION.name, opset=opset)
    return onnx.parser.parse_function(signature + "{\n" + "\n".join(lines) + "\n}")


_SIGNATURE = """<domain: "{domain}", opset_import: ["" : {opset}]>
{name} <level_shapes> (value, sampling_locations, attention_weights) => (output)
"""
_HEADER = """
  shapes = Constant <value_ints: ints = @level_shapes> ()
  minus_one = Constant <value_ints = [-1]> ()
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  two = Constant <value_float = 2.0> ()
  unit = Constant <value_float = 1.0> ()
  B = Shape <start = 0, end = 1> (value)
  H = Shape <start = 2, end = 3> (value)
  D = Shape <start = 3, end = 4> (value)
  Q = Shape <start = 1, end = 2> (sampling_locations)
  P = Shape <start = 4, end = 5> (sampling_locations)
  xy = Shape <start = 5, end = 6> (sampling_locations)
  BH = Mul (B, H)
  C = Mul (H, D)
  shape_bcq = Concat <axis = 0> (B, C, Q)
  shape_grid = Concat <axis = 0> (BH, Q, P, xy)
  shape_attention = Concat <axis = 0> (BH, one, Q, P)
  doubled = Mul (sampling_locations, two)
  centred = Sub (doubled, unit)
  grids = Transpose <perm = [3, 0, 2, 1, 4, 5]> (centred)
  attention = Transpose <perm = [3, 0, 2, 1, 4]> (attention_weights)
  maps = Transpose <perm = [0, 2, 3, 1]> (value)
  start_0 = Identity (zero)"""
_LEVEL = """
  h_index_{l} = Constant <value_ints = [{h}]> ()
  w_index_{l} = Constant <value_ints = [{w}]> ()
  level_{l} = Constant <value_int = {l}> ()
  height_{l} = Gather (shapes, h_index_{l})
  width_{l} = Gather (shapes, w_index_{l})
  area_{l} = Mul (height_{l}, width_{l})
  start_{next} = Add (start_{l}, area_{l})
  rows_{l} = Slice (maps, start_{l}, start_{next}, minus_one)
  shape_map_{l} = Concat <axis = 0> (BH, D, height_{l}, width_{l})
  map_{l} = Reshape (rows_{l}, shape_map_{l})
  grid_{l} = Gather <axis = 0> (grids, level_{l})
  grid_bhqp_{l} = Reshape (grid_{l}, shape_grid)
  samples_{l} = GridSample <mode = "linear", padding_mode = "zeros", align_corners = 0> (map_{l}, grid_bhqp_{l})
  weight_{l} = Gather <axis = 0> (attention, level_{l})
  weight_bhqp_{l} = Reshape (weight_{l}, shape_attention)
  weighted_{l} = Mul (samples_{l}, weight_bhqp_{l})
  sampled_{l} = ReduceSum <keepdims = 0> (weighted_{l}, minus_one)"""
_FOOTER = """
  total_bcq = Reshape ({total}, shape_bcq)
  output = Transpose <perm = [0, 2, 1]> (total_bcq)"""
