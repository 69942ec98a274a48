"""Floating point operations and bytes of a call of a graph, from its ONNX file alone.

What is counted is what a FLOP counter on the original modules counts (hyperseg-spec 12): products and convolutions, a
multiply and an add as two. Shapes are those of the call: the named axes get their sizes, the rest follows by ONNX's own
shape inference and by what the exporter noted of values behind operators of our own.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, inliner, shape_inference
from onnxscript import optimizer

from hyperseg_bench.latency.cost import Cost
from hyperseg_runtime.contracts.axes import size_of
from hyperseg_runtime.errors import BundleError

BITS: Mapping[int, int] = {
    TensorProto.DOUBLE: 64, TensorProto.INT64: 64, TensorProto.FLOAT: 32, TensorProto.INT32: 32,
    TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16, TensorProto.FLOAT8E4M3FN: 8, TensorProto.INT8: 8,
    TensorProto.UINT8: 8, TensorProto.BOOL: 8, TensorProto.INT4: 4, TensorProto.UINT4: 4,
}  # fmt: skip
TORCH_QUOTIENT = re.compile(r"\((\([^()]+\)|\w+)//(\d+)\)")
"""How torch's exporter writes a quotient of sizes; the contract of axes writes floor(a / b)."""
SIZE_ELEMENTS = 1024
"""Larger tensors are no sizes."""
Shape = tuple[int, ...]


def cost_of(path: Path, sizes: Mapping[str, int]) -> Cost:
    """The cost of one call with named axes of these sizes.

    A tensor bound to the memory of another one (a cache written in place) is moved once; of a table that is only looked
    up in, the rows that are taken. Raises BundleError where a shape that is needed cannot be found.
    """
    model = onnx.load(path, load_external_data=False)
    graph = _Sized(model, sizes, path.name)
    flops: Counter[str] = Counter()
    for node in model.graph.node:
        count = _flops(node, graph)
        if count:
            flops[graph.computed_in(node)] += count
    return Cost(dict(flops), graph.bytes_moved())


def count_flops(model: onnx.ModelProto, sizes: Mapping[str, int]) -> int:
    """All operations of a model in memory, whatever their type."""
    graph = _Sized(model, sizes, model.graph.name)
    return sum(_flops(node, graph) for node in model.graph.node)


class _Sized:
    """A graph whose values have the shapes of one call."""

    def __init__(self, model: onnx.ModelProto, sizes: Mapping[str, int], name: str) -> None:
        self.name = name
        self.graph = model.graph
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            for axis in value.type.tensor_type.shape.dim:
                if axis.dim_param:
                    _give_size(axis, sizes)
        self.shapes: dict[str, Shape] = {}
        self.types: dict[str, int] = {}
        for value in _inferred(model):
            tensor = value.type.tensor_type
            self.types[value.name] = tensor.elem_type
            if _is_sized(value):
                self.shapes[value.name] = tuple(axis.dim_value for axis in tensor.shape.dim)
        for constant in model.graph.initializer:
            self.shapes[constant.name], self.types[constant.name] = tuple(constant.dims), constant.data_type
        self.constants = {constant.name for constant in model.graph.initializer}
        self.made_by = {output: node for node in model.graph.node for output in node.output}

    def shape(self, value: str) -> Shape:
        if value not in self.shapes:
            raise BundleError(f"{self.name}: the shape of {value} cannot be found; export the bundle again")
        return self.shapes[value]

    def computed_in(self, node: onnx.NodeProto) -> str:
        """The type of a product: that of its first input, or what both inputs were quantised to."""
        sources = [self.made_by.get(name) for name in node.input[:2]]
        if all(source is not None and source.op_type == "DequantizeLinear" for source in sources):
            stored = [self.types[source.input[0]] for source in sources if source is not None]
            return _type_name(max(stored, key=lambda kind: BITS[kind]))
        return _type_name(self.types[node.input[0]])

    def bytes_moved(self) -> int:
        looked_up = dict.fromkeys(self.constants, 0)
        for node in self.graph.node:
            for index, name in enumerate(node.input):
                if name in self.constants:
                    rows = node.op_type == "Gather" and index == 0
                    size = self._bytes(node.output[0]) if rows else self._bytes(name)
                    looked_up[name] = min(self._bytes(name), max(looked_up[name], size))
        written = {output for node in self.graph.node if node.op_type == "TensorScatter" for output in node.output}
        inputs = [value.name for value in self.graph.input]
        outputs = [value.name for value in self.graph.output if value.name not in written]
        return sum(looked_up.values()) + sum(map(self._bytes, (*inputs, *outputs)))

    def _bytes(self, value: str) -> int:
        return -(-BITS[self.types[value]] * math.prod(self.shape(value)) // 8)


def _inferred(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """Values after ONNX's shape inference; where sizes are computed in ways that it does not follow, also those of a
    copy in which they have been computed and our operators are their bodies.
    """
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    yield from (*graph.value_info, *graph.input, *graph.output)
    if not all(map(_is_sized, graph.value_info)):
        folded = ir.from_proto(inliner.inline_local_functions(model))
        optimizer.fold_constants(
            folded, input_size_limit=SIZE_ELEMENTS, output_size_limit=SIZE_ELEMENTS, should_fold=_may_be_sizes
        )
        yield from shape_inference.infer_shapes(ir.to_proto(folded), data_prop=True).graph.value_info


def _may_be_sizes(node: ir.Node) -> bool | None:
    """Weights have no values here, nodes of several outputs cannot be folded; None leaves the rest to the optimiser."""
    stored = [value.const_value for value in node.inputs if value is not None]
    return False if len(node.outputs) > 1 or any(isinstance(one, ir.ExternalTensor) for one in stored) else None


def _is_sized(value: onnx.ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    return tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in tensor.shape.dim)


def _give_size(axis: onnx.TensorShapeProto.Dimension, sizes: Mapping[str, int]) -> None:
    """Names and expressions of names get their value; what the exporter wrote in other words stays unknown."""
    written = TORCH_QUOTIENT.sub(r"floor(\1 / \2)", axis.dim_param)
    with suppress(ValueError, KeyError):
        axis.dim_value = size_of(written, sizes)


def _flops(node: onnx.NodeProto, graph: _Sized) -> int:
    if node.op_type in ("MatMul", "MatMulInteger"):
        return 2 * math.prod(graph.shape(node.output[0])) * graph.shape(node.input[0])[-1]
    if node.op_type == "Gemm":
        transposed = next((a.i for a in node.attribute if a.name == "transA"), 0)
        return 2 * math.prod(graph.shape(node.output[0])) * graph.shape(node.input[0])[0 if transposed else 1]
    if node.op_type == "Conv":
        return 2 * math.prod(graph.shape(node.output[0])) * math.prod(graph.shape(node.input[1])[1:])
    if node.op_type == "ConvTranspose":
        return 2 * math.prod(graph.shape(node.input[0])) * math.prod(graph.shape(node.input[1])[1:])
    if node.op_type == "Einsum":
        return 2 * _einsum_points(node, graph)
    if node.op_type == "Attention":
        return _attention(node, graph)
    return 0


def _einsum_points(node: onnx.NodeProto, graph: _Sized) -> int:
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if "." in equation:
        raise BundleError(f"{graph.name}: {node.name} has an Einsum with an ellipsis, whose axes are not counted")
    sizes = {
        letter: size
        for term, name in zip(terms, node.input, strict=True)
        for letter, size in zip(term, graph.shape(name), strict=True)
    }
    return math.prod(sizes.values())


def _attention(node: onnx.NodeProto, graph: _Sized) -> int:
    """Scores and weighted values of all queries over all keys (onnx.ai operators: Attention 24, 3-D and 4-D inputs)."""
    queries, keys, values = (graph.shape(name) for name in node.input[:3])
    heads = next((a.i for a in node.attribute if a.name == "q_num_heads"), 0)
    if len(queries) == 3:
        key_heads = next(a.i for a in node.attribute if a.name == "kv_num_heads")
        batch, rows, width = queries[0], queries[1], queries[2] // heads
        key_rows, value_width = keys[1], values[2] // key_heads
    else:
        batch, heads, rows, width = queries
        key_rows, value_width = keys[2], values[3]
    return 2 * math.prod((batch, heads, rows, key_rows, width + value_width))


def _type_name(kind: int) -> str:
    return str(helper.tensor_dtype_to_np_dtype(kind)) if kind != TensorProto.BFLOAT16 else "bfloat16"
