"""The tiny checkpoint on disk: the published layout, weights that hide nothing, a tokenizer of its own."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from hyperseg_export.checkpoint.folder import CONFIG, INDEX, Checkpoint
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer
from hyperseg_export.families.hyperseg.layout import tensor_layout
from hyperseg_export.families.hyperseg.tiny import MADE, TINY
from hyperseg_export.families.mask_queries.made_files import OFFSET_SPREAD_PX, SHARDS, TABLES
from hyperseg_export.families.mask_queries.made_tokenizer import BASE_TOKENS, SEG, TOKEN_ROWS
from hyperseg_export.modules.swin import relative_position_index
from hyperseg_runtime.families.hyperseg.prompts import TEMPLATES
from hyperseg_runtime.families.mask_queries.prompts import SYSTEM


def test_files_on_disk_are_the_layout(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    assert checkpoint.config == json.loads(json.dumps(TINY.config()))
    found = {name: (checkpoint.shapes[name], checkpoint.dtypes[name]) for name in checkpoint.shapes}
    assert found == {name: (shape, dtype) for name, shape, dtype in tensor_layout(TINY)}
    assert len(set(checkpoint.shards.values())) == SHARDS


def test_the_index_is_that_of_a_published_checkpoint(tiny_checkpoint: Path) -> None:
    index = json.loads((tiny_checkpoint / INDEX).read_text())
    checkpoint = Checkpoint.open(tiny_checkpoint)
    assert index["metadata"]["total_size"] == sum(checkpoint.bytes_of(name) for name in checkpoint.shapes)
    for shard in set(index["weight_map"].values()):
        with safe_open(tiny_checkpoint / shard, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}


def test_weights_are_those_made_on_demand(tiny_checkpoint: Path) -> None:
    checkpoint, on_demand = Checkpoint.open(tiny_checkpoint), MADE.tensors(TINY, seed=0)
    for name in sorted(checkpoint.shapes)[::11]:
        assert torch.equal(checkpoint.tensor(name), on_demand.tensor(name)), name


def test_no_weight_is_zero_or_hidden_by_float16(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    zeros = {
        name
        for name in checkpoint.shapes
        if not name.endswith("relative_position_index") and not checkpoint.tensor(name).all()
    }
    assert not zeros


@pytest.mark.parametrize("stage", range(4))
def test_index_buffers_are_the_real_ones(stage: int) -> None:
    name = f"model.vision_tower_mask.layers.{stage}.blocks.0.attn.relative_position_index"
    value = MADE.tensors(TINY, 0).tensor(name)
    assert value.dtype == torch.int64
    assert torch.equal(value, relative_position_index(TINY.swin_window))


def test_special_spreads() -> None:
    checkpoint = MADE.tensors(TINY, 0)
    offsets = checkpoint.tensor("pixel_decoder.transformer.encoder.layers.0.self_attn.sampling_offsets.bias")
    assert offsets.std().item() == pytest.approx(OFFSET_SPREAD_PX, rel=0.2)
    masks = checkpoint.tensor("pixel_decoder.mask_features.weight")
    assert masks.mean(1).abs().max().item() < 1e-6
    assert checkpoint.shapes.keys() >= TABLES
    for name in TABLES:
        assert checkpoint.tensor(name).float().std().item() == pytest.approx(1, rel=0.15), name


def test_the_tokenizer_has_one_row_per_token(tiny_checkpoint: Path) -> None:
    tokenizer = load_tokenizer(tiny_checkpoint)
    assert tokenizer.get_vocab_size() == TOKEN_ROWS == TINY.token_rows
    assert tokenizer.token_to_id(SEG) == TOKEN_ROWS - 1
    assert tokenizer.token_to_id("<|endoftext|>") == BASE_TOKENS
    ids = set(tokenizer.get_vocab().values())
    assert ids == set(range(TOKEN_ROWS))


@pytest.mark.parametrize("task", TEMPLATES)
def test_prompts_of_every_task_fit_the_context(tiny_checkpoint: Path, task: str) -> None:
    """With room for an expression or an answer of 64 tokens."""
    tokenizer, template = load_tokenizer(tiny_checkpoint), TEMPLATES[task]
    text = tokenizer.encode(f"{SYSTEM} {template.human} {template.answer}").ids
    visual = (TINY.clip_image_px // TINY.clip_patch_px) ** 2 + TINY.perceiver_queries + TINY.mask_queries
    assert len(text) + visual + 64 < TINY.context


def test_config_is_small_and_readable(tiny_checkpoint: Path) -> None:
    assert len((tiny_checkpoint / CONFIG).read_text().splitlines()) > 20
    assert sum(path.stat().st_size for path in tiny_checkpoint.iterdir()) < 20_000_000
