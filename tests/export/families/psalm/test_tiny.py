"""The tiny checkpoint on disk: the published layout, statistics a norm may have seen, a tokenizer of its own."""

import json
from pathlib import Path

import pytest
import torch

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.random_weights import TRAINING_STEPS
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer
from hyperseg_export.families.mask_queries.made_tokenizer import SEG
from hyperseg_export.families.psalm.layout import tensor_layout
from hyperseg_export.families.psalm.tiny import MADE, PAD, TINY
from hyperseg_export.opening import open_checkpoint
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families.psalm.prompts import REFERRING_PROMPT
from support import family_checkpoint


@pytest.fixture(scope="module")
def directory(shared_dir: Path) -> Path:
    return family_checkpoint(shared_dir, "psalm")


def test_files_on_disk_are_the_layout(directory: Path) -> None:
    checkpoint = Checkpoint.open(directory)
    assert checkpoint.config == json.loads(json.dumps(TINY.config()))
    found = {name: (checkpoint.shapes[name], checkpoint.dtypes[name]) for name in checkpoint.shapes}
    assert found == {name: (shape, dtype) for name, shape, dtype in tensor_layout(TINY)}
    on_demand = MADE.tensors(TINY, seed=0)
    for name in sorted(checkpoint.shapes)[::11]:
        assert torch.equal(checkpoint.tensor(name), on_demand.tensor(name)), name


def test_norms_have_statistics() -> None:
    norm, checkpoint = "model.mm_projector.layer1.0.bn2", MADE.tensors(TINY, 0)
    assert (checkpoint.tensor(f"{norm}.running_var") > 0).all()
    assert checkpoint.tensor(f"{norm}.running_mean").abs().max() > 0
    assert checkpoint.tensor(f"{norm}.num_batches_tracked") == TRAINING_STEPS


def test_the_tokenizer_is_that_of_training(directory: Path) -> None:
    """[PAD] before [SEG], a row for each."""
    tokenizer = load_tokenizer(directory)
    assert tokenizer.get_vocab_size() == TINY.token_rows
    assert (tokenizer.token_to_id(PAD), tokenizer.token_to_id(SEG)) == (TINY.token_rows - 2, TINY.token_rows - 1)
    assert len(tokenizer.encode(REFERRING_PROMPT).ids) + 16 + TINY.mask_queries + 64 < TINY.context


def test_a_tokenizer_without_seg_is_refused(directory: Path, tmp_path: Path) -> None:
    for path in directory.iterdir():
        content = path.read_bytes()
        named = content.replace(b"[SEG]", b"[GAP]") if path.suffix == ".json" else content
        (tmp_path / path.name).write_bytes(named)
    with pytest.raises(CheckpointError, match=r"the tokenizer has no token '\[SEG\]', which the model needs"):
        open_checkpoint(tmp_path)
