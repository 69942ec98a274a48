"""A checkpoint understood: every byte has a place, and what does not fit is refused before any work."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyperseg_export.checkpoint.folder import CONFIG, INDEX, Checkpoint
from hyperseg_export.checkpoint.tokenizer_files import ADDED, load_tokenizer
from hyperseg_export.checkpoint.tokenizer_files import CONFIG as TOKENIZER_CONFIG
from hyperseg_export.opening import open_checkpoint
from hyperseg_runtime.errors import CheckpointError
from support import FIRST_FAMILY

SEG = "[SEG]"
Edit = Callable[[dict[str, Tensor]], None]
INDEX_BUFFER = "model.vision_tower_mask.layers.1.blocks.0.attn.relative_position_index"


def test_the_family_and_the_dimensions_are_found(tiny_checkpoint: Path) -> None:
    opened = open_checkpoint(tiny_checkpoint)
    dimensions = opened.model.dimensions.model_dump()
    assert opened.model.family == opened.family.name == FIRST_FAMILY
    assert dimensions["seg_token_id"] == load_tokenizer(tiny_checkpoint).token_to_id(SEG)
    assert (dimensions["context"], dimensions["image_px"], dimensions["width"]) == (384, 256, 80)


def test_a_context_goes_before_the_configs(tiny_checkpoint: Path) -> None:
    assert open_checkpoint(tiny_checkpoint, context=199).model.dimensions.model_dump()["context"] == 199


def test_every_byte_of_the_checkpoint_is_accounted_for(tiny_checkpoint: Path) -> None:
    opened = open_checkpoint(tiny_checkpoint)
    coverage, checkpoint = opened.coverage(), Checkpoint.open(tiny_checkpoint)
    total = sum(checkpoint.bytes_of(name) for name in checkpoint.shapes)
    assert coverage.tensors == len(checkpoint.shapes)
    assert coverage.loaded_bytes + coverage.checked_bytes + sum(coverage.unused_bytes.values()) == total
    assert coverage.checked_bytes == 8 * 36**2 * 8  # eight index buffers of int64
    assert len(coverage.unused_bytes) == 4
    assert all(coverage.unused_bytes.values())


def test_a_stored_index_buffer_of_another_window_is_refused(checkpoint_copy: Path) -> None:
    def swap(tensors: dict[str, Tensor]) -> None:
        tensors[INDEX_BUFFER] = tensors[INDEX_BUFFER].t().contiguous()

    edit_weights(checkpoint_copy, INDEX_BUFFER, swap)
    with pytest.raises(CheckpointError, match=f"(?s){INDEX_BUFFER}: not the index of this window size"):
        open_checkpoint(checkpoint_copy)


def test_a_tokenizer_with_more_tokens_than_embedding_rows_is_refused(checkpoint_copy: Path) -> None:
    path = checkpoint_copy / TOKENIZER_CONFIG
    config = json.loads(path.read_text())
    rows = load_tokenizer(checkpoint_copy).get_vocab_size()
    config["added_tokens_decoder"][str(rows)] = {"content": "[MORE]"}
    path.write_text(json.dumps(config))
    expected = f"the tokenizer knows {rows + 1} tokens, the embedding table has {rows} rows"
    with pytest.raises(CheckpointError, match=expected):
        open_checkpoint(checkpoint_copy)


def test_a_tokenizer_without_the_seg_token_is_refused(checkpoint_copy: Path) -> None:
    (checkpoint_copy / TOKENIZER_CONFIG).unlink()
    ids = json.loads((checkpoint_copy / ADDED).read_text())
    del ids[SEG]
    (checkpoint_copy / ADDED).write_text(json.dumps(ids))
    assert load_tokenizer(checkpoint_copy).token_to_id(SEG) is None
    with pytest.raises(CheckpointError, match=r"has no token '\[SEG\]'"):
        open_checkpoint(checkpoint_copy)


def test_another_model_is_named_before_its_tokenizer_is_missed(checkpoint_copy: Path) -> None:
    shutil.copy(checkpoint_copy / CONFIG, checkpoint_copy / "kept")
    for path in checkpoint_copy.iterdir():
        if path.name != CONFIG:
            path.unlink()
    save_file({"somebody_elses.weight": torch.ones(2)}, checkpoint_copy / "model.safetensors")
    with pytest.raises(CheckpointError, match="no known family"):
        open_checkpoint(checkpoint_copy)


def test_a_missing_adapter_folder_is_an_error(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent: adapter_config\.json is missing"):
        open_checkpoint(tiny_checkpoint, adapter=tmp_path / "absent")


def edit_weights(folder: Path, name: str, edit: Edit) -> None:
    """Change the shard that holds `name`."""
    shard = folder / json.loads((folder / INDEX).read_text())["weight_map"][name]
    tensors = load_file(shard)
    edit(tensors)
    save_file(tensors, shard)
