"""The tiny checkpoint on disk, and what is refused."""

import json
from pathlib import Path

import pytest

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.families.instructseg.layout import tensor_layout
from hyperseg_export.families.instructseg.tiny import MADE, TINY
from hyperseg_export.families.release_constants import EXTENSION_KEY
from hyperseg_export.opening import open_checkpoint
from hyperseg_runtime.errors import CheckpointError


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    MADE.write(tmp_path, TINY, seed=0)
    return tmp_path


def test_files_on_disk_are_the_layout(checkpoint: Path) -> None:
    found = Checkpoint.open(checkpoint)
    assert {name: (found.shapes[name], found.dtypes[name]) for name in found.shapes} == {
        name: (shape, dtype) for name, shape, dtype in tensor_layout(TINY)
    }
    assert open_checkpoint(checkpoint).family.name == "instructseg"


def test_a_tokenizer_without_the_mask_token(checkpoint: Path) -> None:
    added = json.loads((checkpoint / "added_tokens.json").read_text())
    del added["[SEG]"]
    (checkpoint / "added_tokens.json").write_text(json.dumps(added))
    described = json.loads((checkpoint / "tokenizer_config.json").read_text())
    tokens = described["added_tokens_decoder"]
    described["added_tokens_decoder"] = {i: token for i, token in tokens.items() if token["content"] != "[SEG]"}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=r"the tokenizer has no token '\[SEG\]', which the model needs"):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("reference_frames", 3, r"reference_frames is 3: .*multiple of 2"),
        ("fusion_heads", 7, "vmtf_layers is 192 wide, which 7 heads cannot share"),
        ("context", 100, r"a context of 100 tokens holds no prompt: image, perceiver and mask queries take 47"),
    ],
)
def test_settings_that_do_not_fit(checkpoint: Path, key: str, value: int, message: str) -> None:
    path = checkpoint / "config.json"
    content = json.loads(path.read_text())
    content[EXTENSION_KEY][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(checkpoint)
