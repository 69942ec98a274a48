"""The language model with ONNX Runtime's own attention: the named rival of our portable form."""

from pathlib import Path

import onnx_ir as ir

CONTRIB = "com.microsoft"


def to_group_query_attention(model: ir.Model, heads: int, cache_heads: int) -> ir.Model:
    """Replace every RotaryEmbedding, TensorScatter, Slice and Attention by one GroupQueryAttention. Returns `model`.

    The contrib operator rotates, writes the cache in place and attends, causal by itself; it takes the number
    of tokens before this call instead of mask and positions.
    """
    graph = model.graph
    model.opset_imports[CONTRIB] = 1
    seqlens = ir.Value(name="seqlens_k", type=ir.TensorType(ir.DataType.INT32), shape=ir.Shape(["batch"]))
    total = ir.Value(name="total_sequence_length", type=ir.TensorType(ir.DataType.INT32), shape=ir.Shape([]))
    for node in [node for node in graph if node.op_type == "Attention"]:
        query = node.inputs[0]
        keys, values = (_producer(sliced).inputs[0] for sliced in node.inputs[1:3])  # of all slots
        rotary, scatter_k, scatter_v = _producer(query), _producer(keys), _producer(values)
        merged = _only_user(_only_user(node))  # Transpose, Reshape
        fused = ir.node(
            "GroupQueryAttention",
            [
                _heads_joined(rotary.inputs[0]),
                _heads_joined(_producer(scatter_k.inputs[1]).inputs[0]),
                _heads_joined(scatter_v.inputs[1]),
                scatter_k.inputs[0],
                scatter_v.inputs[0],
                seqlens,
                total,
                rotary.inputs[1],
                rotary.inputs[2],
            ],
            {"num_heads": heads, "kv_num_heads": cache_heads, "do_rotary": 1},
            domain=CONTRIB,
            num_outputs=3,
        )
        graph.insert_before(node, fused)
        for old, new in zip((merged.outputs[0], _given(keys), _given(values)), fused.outputs, strict=True):
            new.name, new.type, new.shape = old.name, old.type, old.shape
            old.name = f"{old.name}.unused"
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    unused = {"position_ids", "attended_slots", "slot_numbers", "write_indices"}
    _remove_dead(graph)
    kept = [value for value in graph.inputs if value.name not in unused]
    graph.inputs[:] = [kept[0], seqlens, total, *kept[1:]]
    return model


def save_gqa_form(source: Path, target: Path, heads: int, cache_heads: int) -> None:
    """Both files in one folder: they share the weights' data file."""
    ir.save(to_group_query_attention(ir.load(source), heads, cache_heads), target)


def _given(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise ValueError("an input is absent: the graph is not the exporter's form")
    return value


def _producer(value: ir.Value | None) -> ir.Node:
    node = _given(value).producer()
    if node is None:
        raise ValueError(f"{value} has no producer: the graph is not the exporter's form")
    return node


def _heads_joined(value: ir.Value | None) -> ir.Value | None:
    """(B, T, heads * d) before it was reshaped and transposed to (B, heads, T, d)."""
    return _producer(_producer(value).inputs[0]).inputs[0]


def _only_user(node: ir.Node) -> ir.Node:
    ((user, _),) = node.outputs[0].uses()
    return user


def _remove_dead(graph: ir.Graph) -> None:
    """Nodes whose results nobody takes any more, from the end."""
    wanted = set(graph.outputs)
    for node in reversed(graph):
        if not any(output.uses() or output in wanted for output in node.outputs):
            graph.remove(node, safe=True)
