"""An adapter kept apart computes what the merged one computes, and lies where the manifest says."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapters import ADAPTERS, SMALL, edit_factors, with_llm
from hyperseg_export.adapters.slots import KeptAdapter, factor_values, filled, keep_apart, write_factors
from hyperseg_export.checkpoint.lora import AdapterFolder
from hyperseg_export.checkpoint.unread import ADAPTER_WEIGHTS
from hyperseg_export.checkpoint.weights import materialise
from hyperseg_export.export import write_graph
from hyperseg_export.onnx.weight_store import INLINE_BYTES
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_export.parity.tolerances import FEATURE, LORA
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.manifest import AdapterEntry
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import OpenedGraphs, Pipeline, family_of


def test_every_graph_equals_the_merged_modules(kept_bundle: Path) -> None:
    """Parity of a bundle with an adapter apart is measured against modules with merged weights."""
    manifest = Bundle.open(kept_bundle).manifest
    assert manifest.parity is not None and manifest.adapter is not None
    outputs = {(graph.spec.name, name) for graph in manifest.graphs for name in graph.spec.output_names()}
    assert {(entry.graph, entry.output) for entry in manifest.parity if entry.passed} == outputs


@pytest.mark.parametrize("name", ["first", pytest.param("every", marks=pytest.mark.full)])
def test_masks_and_hidden_states_are_those_of_the_merged_bundle(
    small_checkpoint: Path, adapters: Path, merged_bundle: Path, tmp_path: Path, coffee: Path, name: str
) -> None:
    opened = open_checkpoint(small_checkpoint, adapters / name)
    kept = keep_apart(opened.model, opened.checkpoint)
    apart = with_llm(merged_bundle, tmp_path / "apart", opened.model, kept)
    merged = with_llm(merged_bundle, tmp_path / "merged", opened.model, None)
    assert len(kept.entry.slots) == SMALL.layers * len(ADAPTERS[name]["target_modules"])
    for one, other in zip(masks(apart, coffee), masks(merged, coffee), strict=True):
        assert np.array_equal(one, other) and 0 < one.mean() < 1
    found, expected = llm_outputs(apart, coffee), llm_outputs(merged, coffee)
    assert {"hidden_states", "present_key.0", "present_value.1"} <= found.keys() == expected.keys()
    for output in found:
        assert worst_error(found[output], expected[output]) < FEATURE


def test_packed_projections_share_one_pair_of_factors(small_checkpoint: Path, adapters: Path) -> None:
    entry = kept_adapter(small_checkpoint, adapters / "every").entry
    layers = ("qkv", "out", "mlp.layers.0", "mlp.layers.1")
    names = [f"phi.layers.{i}.{layer}" for i in range(SMALL.layers) for layer in layers]
    assert [factor.name for factor in entry.factors] == [f"{n}.{part}" for n in names for part in ("down", "up")]
    assert {slot.ranks for slot in entry.slots if "qkv" in slot.down} == {(0, 3), (3, 6), (6, 9)}


def test_the_adapter_changes_what_is_computed(small_checkpoint: Path, adapters: Path) -> None:
    """Else all comparisons here would hold without one."""
    with_it, without = projected(small_checkpoint, adapters / "first"), projected(small_checkpoint, None)
    assert worst_error(with_it, without) > 1e-3


@pytest.mark.parametrize("name", ["first", "second", "every", "low"])
@pytest.mark.parametrize("naming", ["newer peft", "older peft"])
def test_factors_multiply_to_what_a_merge_adds(
    small_checkpoint: Path, adapters: Path, tmp_path: Path, name: str, naming: str
) -> None:
    folder = Path(shutil.copytree(adapters / name, tmp_path / name))
    if naming == "older peft":
        edit_factors(
            folder, lambda key, tensor: (key.replace("_A.", "_A.default.").replace("_B.", "_B.default."), tensor)
        )
    kept = kept_adapter(small_checkpoint, folder)
    values = {factor.name: factor_values(kept.entry, factor, kept.adapters) for factor in kept.entry.factors}
    assert {slot.weight for slot in kept.entry.slots if slot.rank} == set(kept.adapters)
    for slot in kept.entry.slots:
        product = values[slot.down] @ values[slot.up][:, slice(*slot.outputs)]
        expected = kept.adapters[slot.weight].delta().numpy().T if slot.rank else np.zeros_like(product)
        assert worst_error(product, expected) < LORA, slot.weight


def test_layers_without_an_adapter_have_room_for_one(small_checkpoint: Path, adapters: Path) -> None:
    entry = kept_adapter(small_checkpoint, adapters / "low").entry
    assert [(slot.weight, slot.rank, slot.capacity) for slot in entry.slots] == [
        ("model.layers.0.self_attn.v_proj.weight", 0, 2),
        ("model.layers.1.self_attn.v_proj.weight", 2, 2),
    ]
    assert [factor.shape for factor in entry.factors] == 2 * [(SMALL.width, 2), (2, 3 * SMALL.width)]
    assert {slot.outputs for slot in entry.slots} == {(2 * SMALL.width, 3 * SMALL.width)}


def test_names_and_places_do_not_depend_on_the_values(small_checkpoint: Path, adapters: Path) -> None:
    first, second = (kept_adapter(small_checkpoint, adapters / name).entry for name in ("first", "second"))
    assert first == second
    names = [f"phi.layers.{layer}.qkv.{part}" for layer in range(SMALL.layers) for part in ("down", "up")]
    assert [factor.name for factor in first.factors] == names


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_factors_are_initializers_of_their_own(
    small_checkpoint: Path, adapters: Path, tmp_path: Path, scale: float
) -> None:
    """However small, and also when all are zero: equal tensors are stored once, but never these."""
    folder = Path(shutil.copytree(adapters / "every", tmp_path / "every"))
    edit_factors(folder, lambda name, tensor: (name, scale * tensor))
    kept = kept_adapter(small_checkpoint, folder)
    spec = next(spec for spec in kept.model.specs if spec.name == "llm")
    files, facts = write_graph(kept.model, spec, tmp_path, {}, kept=kept)
    assert files == ["graphs/llm.onnx", "graphs/llm.adapter.data", "graphs/llm.data"]
    assert facts["data_files"] == ["graphs/llm.adapter.data", "graphs/llm.data"]
    proto = onnx.load(tmp_path / "graphs" / "llm.onnx", load_external_data=False)
    initializers = {tensor.name: tensor for tensor in proto.graph.initializer}
    for factor in kept.entry.factors:
        tensor = initializers[factor.name]
        place = {item.key: item.value for item in tensor.external_data}
        assert (place["location"], int(place["offset"])) == ("llm.adapter.data", factor.offset)
        assert tuple(tensor.dims) == factor.shape
        stored = onnx.numpy_helper.to_array(tensor, str(tmp_path / "graphs"))
        assert np.array_equal(stored, factor_values(kept.entry, factor, kept.adapters))
    assert any(factor.size_bytes < INLINE_BYTES for factor in kept.entry.factors)
    elsewhere = set(initializers) - {factor.name for factor in kept.entry.factors}
    outside = [initializers[name] for name in elsewhere if initializers[name].external_data]
    assert all(tensor.external_data[0].value == "llm.data" for tensor in outside)


def test_the_data_file_holds_the_factors_and_zeros(small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    kept = kept_adapter(small_checkpoint, adapters / "every")
    write_factors(tmp_path / "data", kept.entry, kept.adapters)
    data = bytearray((tmp_path / "data").read_bytes())
    for factor in kept.entry.factors:
        stored = np.frombuffer(bytes(data[factor.offset : factor.offset + factor.size_bytes]), np.float32)
        assert np.array_equal(stored.reshape(factor.shape), factor_values(kept.entry, factor, kept.adapters))
        data[factor.offset : factor.offset + factor.size_bytes] = bytes(factor.size_bytes)
    assert not any(data)


def test_an_adapter_inside_the_shards_can_be_kept_apart(small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))
    (checkpoint / "model.safetensors.index.json").unlink()
    shards = sorted(checkpoint.glob("*.safetensors"))
    tensors = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    factors = load_file(adapters / "first" / ADAPTER_WEIGHTS)
    for shard in shards:
        shard.unlink()
    save_file({**tensors, **factors}, checkpoint / "model.safetensors")
    inside = kept_adapter(checkpoint, None)
    beside = kept_adapter(small_checkpoint, adapters / "first")
    assert inside.entry == beside.entry
    for factor in inside.entry.factors:
        ours, theirs = (factor_values(kept.entry, factor, kept.adapters) for kept in (inside, beside))
        assert np.array_equal(ours, theirs)  # both alpha 16


OUTSIDE = {
    "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj": (48, 48),
    "lm_head": (SMALL.logit_rows, SMALL.width),
    "model.embed_tokens": (SMALL.token_rows, SMALL.width),
    "predictor.transformer_ffn_layers.0.linear1": (SMALL.mask_mlp_width, SMALL.mask_width),
}


@pytest.mark.parametrize("target", OUTSIDE)
def test_what_is_outside_the_language_model_cannot_be_kept_apart(
    small_checkpoint: Path, adapters: Path, tmp_path: Path, target: str
) -> None:
    folder = Path(shutil.copytree(adapters / "first", tmp_path / "outside"))
    outputs, inputs = OUTSIDE[target]
    factors = {"A": torch.ones(4, inputs), "B": torch.ones(outputs, 4)}
    save_file({f"{target}.lora_{name}.weight": value for name, value in factors.items()}, folder / ADAPTER_WEIGHTS)
    with pytest.raises(CheckpointError, match=rf"{target}\.weight, which is no linear layer of the language model"):
        kept_adapter(small_checkpoint, folder)
    assert open_checkpoint(small_checkpoint, folder).checkpoint.adapters  # merging it works


def test_without_an_adapter_there_is_nothing_to_keep(small_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no adapter was found to keep apart; name its folder with --adapter"):
        kept_adapter(small_checkpoint, None)


def set_width(width: int) -> Callable[[str, Tensor], tuple[str, Tensor]]:
    return lambda name, tensor: (name, tensor[:, :width] if "lora_A" in name else tensor)


def test_an_adapter_that_does_not_fit_the_slots_is_explained(
    small_checkpoint: Path, adapters: Path, tmp_path: Path
) -> None:
    entry = kept_adapter(small_checkpoint, adapters / "first").entry
    slots = "model.layers.{i}.self_attn.q_proj.weight, model.layers.{i}.self_attn.v_proj.weight"
    assert refusal(entry, adapters / "high") == (
        "adapter: rank 5 for model.layers.0.self_attn.q_proj.weight, the bundle has room for rank 4; "
        "export again with --keep-adapter and this adapter"
    )
    assert refusal(entry, adapters / "other") == (
        "adapter: it changes model.layers.0.mlp.fc1.weight, for which the bundle has no slot; its slots are "
        f"{slots}; export again with --keep-adapter and this adapter"
    )
    folder = Path(shutil.copytree(adapters / "first", tmp_path / "narrow"))
    edit_factors(folder, set_width(79))
    assert refusal(entry, folder) == (
        "adapter: it is made for model.layers.0.self_attn.q_proj.weight of shape (80, 79), the bundle's has (80, 80); "
        "it belongs to another model"
    )


def test_an_adapter_of_another_family_is_refused(small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    """Other names: here those of a BERT."""
    entry = kept_adapter(small_checkpoint, adapters / "first").entry
    folder = Path(shutil.copytree(adapters / "first", tmp_path / "bert"))
    edit_factors(folder, lambda name, tensor: (name.replace("model.layers.", "bert.encoder.layer."), tensor))
    assert "it changes bert.encoder.layer.0.self_attn.q_proj.weight" in refusal(entry, folder)


def test_filling_counts_the_ranks_in_use(small_checkpoint: Path, adapters: Path) -> None:
    entry = kept_adapter(small_checkpoint, adapters / "first").entry
    changed = filled(entry, AdapterFolder.open(adapters / "low").adapters)
    assert [slot.rank for slot in changed.slots] == [0, 0, 0, 2]
    assert [slot.capacity for slot in changed.slots] == [4, 4, 4, 4]
    assert changed.factors == entry.factors


def refusal(entry: AdapterEntry, folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        filled(entry, AdapterFolder.open(folder).adapters)
    return str(caught.value)


def kept_adapter(checkpoint: Path, adapter: Path | None) -> KeptAdapter:
    opened = open_checkpoint(checkpoint, adapter)
    return keep_apart(opened.model, opened.checkpoint)


def masks(bundle: Bundle, image: Path) -> list[np.ndarray]:
    with OnnxRuntimeBackend(threads=1) as backend, Pipeline(bundle, backend) as pipeline:
        return [result.mask for result in pipeline.open(image).segment_many(["the cup", "what is hot"])]


def llm_outputs(bundle: Bundle, image: Path) -> dict[str, np.ndarray]:
    """Hidden states and caches of one prompt."""
    with OnnxRuntimeBackend(threads=1) as backend:
        graphs = RecordingGraphs(OpenedGraphs(bundle, backend))
        family_of(bundle).open_model(bundle, graphs, backend).exercise(load_image(image))
        return graphs.calls["llm"][0].outputs


def projected(checkpoint: Path, adapter: Path | None) -> np.ndarray:
    """Queries, keys and values of the first layer for some input."""
    model = open_checkpoint(checkpoint, adapter).model
    module = model.module("llm")
    layer = materialise(module, model.weights.of_module(module)).get_submodule("phi.layers.0.qkv")
    torch.manual_seed(0)
    with torch.inference_mode():
        return np.asarray(layer(torch.randn(1, 7, SMALL.width)))
