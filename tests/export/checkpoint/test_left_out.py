"""Nothing that belongs to a checkpoint is left out because a part of it is missing or cannot be read."""

import shutil
from pathlib import Path

import pytest
import torch

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.lora import with_adapters
from hyperseg_export.checkpoint.pickle_file import PickleCheckpoint
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer
from hyperseg_runtime.errors import CheckpointError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\n"
TOKENIZER_FILES = ("added_tokens.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")


@pytest.mark.parametrize("place", ["inside", "beside the shards"])
@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin"])
@pytest.mark.parametrize(
    ("config", "message"), [(None, r"adapter_config\.json is missing"), ("../absent", "a link to ../absent, which")]
)
def test_an_adapter_without_its_config(
    small_checkpoint: Path, adapters: Path, tmp_path: Path, place: str, weights: str, config: str | None, message: str
) -> None:
    checkpoint = Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))
    folder = checkpoint / "lora" if place == "inside" else checkpoint
    folder.mkdir(exist_ok=True)
    shutil.copy(adapters / "first" / "adapter_model.safetensors", folder / weights)
    if config:
        (folder / "adapter_config.json").symlink_to(config)
    with pytest.raises(CheckpointError, match=message):
        with_adapters(Checkpoint.open(checkpoint))


@pytest.mark.parametrize("file", [*TOKENIZER_FILES, "tokenizer.json"])
def test_a_tokenizer_s_file_that_cannot_be_read(checkpoint_copy: Path, file: str) -> None:
    path = checkpoint_copy / file
    path.unlink(missing_ok=True)
    path.write_text(POINTER)
    with pytest.raises(CheckpointError, match=rf"{file}: a Git LFS pointer.*git lfs pull"):
        load_tokenizer(checkpoint_copy)
    path.unlink()
    path.symlink_to("../blobs/1")
    with pytest.raises(CheckpointError, match=rf"{file}: a link to \.\./blobs/1, which does not exist"):
        load_tokenizer(checkpoint_copy)


def test_files_of_a_pickle_that_lead_nowhere(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "model.pth")
    (tmp_path / "config.json").symlink_to("absent")
    with pytest.raises(CheckpointError, match=r"config\.json: a link to absent, which does not exist"):
        PickleCheckpoint.open(tmp_path / "model.pth")
    (tmp_path / "config.json").unlink()
    (tmp_path / "model.pth").unlink()
    (tmp_path / "model.pth").symlink_to("blob")
    for path in (tmp_path, tmp_path / "model.pth"):
        with pytest.raises(CheckpointError, match=r"model\.pth: a link to blob, which does not exist"):
            PickleCheckpoint.open(path)
