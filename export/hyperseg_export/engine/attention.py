"""In which form attention goes into an engine, and which one the engine turned out to hold.

fused        One kernel or no engine: TensorRT refuses the build where it has none.
decomposed   TensorRT may take separate layers where it has no fused kernel, or finds none faster.
written-out  MatMul, Softmax and MatMul in place of the node, for releases whose Attention layer is at fault.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from hyperseg_export.engine.inspector import Layer
from hyperseg_runtime.contracts.tensorrt_versions import Version


class AttentionForm(StrEnum):
    FUSED = "fused"
    DECOMPOSED = "decomposed"
    WRITTEN_OUT = "written-out"


@dataclass(frozen=True)
class WeakSpot:
    """Releases `first`..`last` (major, minor) in which TensorRT's Attention layer is not to be trusted."""

    first: Version
    last: Version
    what: str
    reference: str


WEAK_SPOTS = (
    WeakSpot((10, 16), (10, 16), "wrong results from the layer; open", "NVIDIA/TensorRT#4732"),
    WeakSpot(
        (11, 2),
        (11, 2),
        "large errors of masked fp16 attention; decomposing it fails in the compiler",
        "NVIDIA TensorRT-Model-Connect e9132e79, phi4_multimodal/plugin.py and qwen_vl/graph_ops.py",
    ),
)
"""Besides these a fused kernel was refused there for caches of 768 slots and more (qwen_vl/
default_dual_profile_decoder.py), so that no release gets `fused` unasked."""
MASKED_SCORE = -1e30
"""Finite: a row without any True stays a number."""
FUSED_KERNEL = "_mha"
"""Names of fused kernels contain it: `_gemm_mha_v2` for many queries, `_gemv_mha_v1` for one (NVIDIA/TensorRT#3243;
#4410: see whether the layer information has such a layer)."""


def default_form(release: Version, types: Sequence[str], widths: Sequence[int]) -> AttentionForm:
    """For a graph whose attention has these types of queries and head widths.

    Float32 has no fused kernel, and is computed in separate layers by every release.
    """
    low = any(kind != "float32" and width for kind, width in zip(types, widths, strict=True))
    if low and any(spot.first <= release <= spot.last for spot in WEAK_SPOTS):
        return AttentionForm.WRITTEN_OUT
    return AttentionForm.DECOMPOSED


def fused_layers(layers: Sequence[Layer]) -> int:
    """How many layers of a profile are fused attention."""
    return sum(FUSED_KERNEL in f"{layer.name} {layer.tactic}".lower() for layer in layers)


def advice(graph: str, form: AttentionForm | None) -> str:
    """What to try where an engine with attention in this form is wrong or cannot be built."""
    if form is None:
        return ""
    if form is AttentionForm.WRITTEN_OUT:
        return f"attention was written out already, so try another precision (export --precision-of {graph}=fp32)"
    return f"attention was {form}: if it is at fault, try build --attention {graph}={AttentionForm.WRITTEN_OUT}"


def attention_nodes(model: Any) -> Iterator[tuple[Any, str, int, int]]:
    """Every Attention node of the ONNX `model` with type, head count and head width of its queries.

    The export's lint has seen to their form: (B, H, T, D) queries, at most a mask, one output, not causal.
    """
    import onnx

    values = {value.name: value.type.tensor_type for value in (*model.graph.input, *model.graph.value_info)}
    for node in model.graph.node:
        if node.op_type == "Attention":
            query = values[node.input[0]]
            kind = str(onnx.helper.tensor_dtype_to_np_dtype(query.elem_type))
            dims = [dim.dim_value for dim in query.shape.dim]
            yield node, kind, dims[1], dims[3]


def write_out(model: Any) -> int:
    """Put elementary nodes in place of every Attention node; returns how many there were.

    softmax(scale q k^T, masked) v, the products in the type of the queries and the softmax in float32, as fused
    kernels do inside. Keys and values with fewer heads are repeated.
    """
    found = {node.output[0]: (node, heads, width) for node, _, heads, width in attention_nodes(model)}
    cache_heads = _head_counts(model)
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Attention":
            nodes.append(node)
            continue
        _, heads, width = found[node.output[0]]
        nodes += _written(model, node, heads, width, heads // (cache_heads.get(node.input[1]) or heads))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return len(found)


def _head_counts(model: Any) -> dict[str, int]:
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    return {name: dims[1].dim_value for name, dims in shapes.items() if len(dims) == 4}


def _written(model: Any, node: Any, heads: int, width: int, group: int) -> Iterator[Any]:
    import onnx
    from onnx import helper, numpy_helper

    name, (query, keys, values, *rest) = node.name or node.output[0], node.input
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.value_info)}
    low = kinds[query]

    def constant(label: str, array: np.ndarray, kind: int = onnx.TensorProto.INT64) -> str:
        flat = array.reshape(-1).tolist()
        model.graph.initializer.append(helper.make_tensor(f"{name}.{label}", kind, array.shape, flat))
        return f"{name}.{label}"

    def add(operator: str, inputs: list[str], label: str, kind: int = low, **more: Any) -> Any:
        model.graph.value_info.append(helper.make_tensor_value_info(f"{name}.{label}", kind, None))
        return helper.make_node(operator, inputs, [f"{name}.{label}"], f"{name}.{label}", **more)

    if group > 1:
        lead, whole = np.array([2]), np.array([0, heads, -1, width])
        counts = np.array([1, 1, group, 1, 1])
        for source, label in ((keys, "keys"), (values, "values")):
            yield add("Unsqueeze", [source, constant(f"{label}.axis", lead)], f"{label}.apart")
            yield add("Expand", [f"{name}.{label}.apart", constant(f"{label}.group", counts)], f"{label}.repeated")
            yield add("Reshape", [f"{name}.{label}.repeated", constant(f"{label}.shape", whole)], label)
        keys, values = f"{name}.keys", f"{name}.values"
    scale = np.array(attributes.get("scale", width**-0.5), np.float32)
    yield add("Mul", [query, constant("scale", scale, low)], "scaled")
    yield add("Transpose", [keys], "turned", perm=[0, 1, 3, 2])
    yield add("MatMul", [f"{name}.scaled", f"{name}.turned"], "products")
    yield add("Cast", [f"{name}.products"], "scores", onnx.TensorProto.FLOAT, to=onnx.TensorProto.FLOAT)
    scores = f"{name}.scores"
    if rest and rest[0]:
        if kinds.get(rest[0]) == onnx.TensorProto.BOOL:
            masked = numpy_helper.from_array(np.array(MASKED_SCORE, np.float32), f"{name}.lowest")
            model.graph.initializer.append(masked)
            yield add("Where", [rest[0], scores, masked.name], "masked", onnx.TensorProto.FLOAT)
        else:
            yield add("Cast", [rest[0]], "bias", onnx.TensorProto.FLOAT, to=onnx.TensorProto.FLOAT)
            yield add("Add", [scores, f"{name}.bias"], "masked", onnx.TensorProto.FLOAT)
        scores = f"{name}.masked"
    yield add("Softmax", [scores], "weights", onnx.TensorProto.FLOAT, axis=-1)
    yield add("Cast", [f"{name}.weights"], "chosen", to=low)
    yield helper.make_node("MatMul", [f"{name}.chosen", values], [node.output[0]], name)
