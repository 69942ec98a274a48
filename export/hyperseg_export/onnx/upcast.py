"""A typed graph in float32 arithmetic: the same nodes and the same rounded weights, nothing else rounded.

What an engine of the typed graph should come close to, and what ONNX Runtime's CPU provider, which has no
bfloat16, can run.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from hyperseg_export.onnx.weight_store import INLINE_BYTES

LOW = frozenset({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})
WIDE = onnx.TensorProto.FLOAT
TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype"})


def upcast(source: Path, target: Path, weights: Path | None = None) -> None:
    """Write `target`, and its weights beside it, with float32 in place of every 16-bit float of `source`, whose
    weights lie beside it or in the folder `weights`.

    Holds one tensor at a time in memory.
    """
    model = onnx.load(source, load_external_data=False)
    data = target.with_suffix(".data")
    with data.open("wb") as file:
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor, base_dir=str(weights or source.parent))
            wide = values.astype(np.float32) if tensor.data_type in LOW else values
            plain = numpy_helper.from_array(wide, tensor.name)
            if wide.nbytes >= INLINE_BYTES:
                _move_out(plain, file.tell(), wide.nbytes, data.name)
                file.write(np.ascontiguousarray(wide).data)
            tensor.CopyFrom(plain)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        _widen_value(value)
    for node in _nodes(model.graph.node):
        _widen_attributes(node)
    for function in model.functions:
        for node in _nodes(function.node):
            _widen_attributes(node)
    onnx.save(model, target)


def _move_out(tensor: onnx.TensorProto, offset: int, size_bytes: int, file: str) -> None:
    """Let `tensor` say that its values lie in `file`."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", str(offset)), ("length", str(size_bytes))):
        tensor.external_data.add(key=key, value=value)


def _widen_value(value: onnx.ValueInfoProto) -> None:
    kind = value.type.tensor_type
    if kind.elem_type in LOW:
        kind.elem_type = WIDE


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Those of subgraphs too."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g.node)


def _widen_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in LOW:
            wide = numpy_helper.to_array(attribute.t).astype(np.float32)
            attribute.t.CopyFrom(numpy_helper.from_array(wide, attribute.t.name))
        elif attribute.name in TYPE_ATTRIBUTES and attribute.i in LOW:
            attribute.i = WIDE
