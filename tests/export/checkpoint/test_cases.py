"""Checkpoints: other spellings of one model are read, what would change results is refused, real causes are named."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.lora import with_adapters
from hyperseg_export.checkpoint.tokenizer_files import FAST, load_tokenizer
from hyperseg_export.families.hyperseg.config_json import ConfigJson
from hyperseg_export.families.mask_queries.config_json import parse_config
from hyperseg_export.opening import open_checkpoint
from hyperseg_runtime.errors import CheckpointError
from support import RunCli

PARTS = Path(__file__).parents[2] / "cases" / "files" / "checkpoint_parts"
SHARD = "model-00001-of-00002.safetensors"


@pytest.mark.parametrize("name", ["non_lora_trainables.bin", "mm_projector.bin", "extra.safetensors"])
@pytest.mark.parametrize("place", ["given", "inside", "beside the shards"])
def test_weights_beside_an_adapter(
    small_checkpoint: Path, adapters: Path, tmp_path: Path, name: str, place: str
) -> None:
    """`non_lora_trainables.bin` or `mm_projector.bin` in the adapter's folder."""
    checkpoint = Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))
    folder = {"given": tmp_path / "adapter", "inside": checkpoint / "lora", "beside the shards": checkpoint}[place]
    shutil.copytree(adapters / "first", folder, dirs_exist_ok=True)
    given = folder if place == "given" else None
    for harmless in ("training_args.bin", "optimizer.pt", "rng_state_0.pth", "pytorch_model-00001-of-00002.bin"):
        (folder / harmless).write_bytes(b"PK")
    assert with_adapters(Checkpoint.open(checkpoint), given).adapters
    (folder / name).write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=rf"{name} beside the weights would be left out; if it belongs"):
        with_adapters(Checkpoint.open(checkpoint), given)


def test_weights_beside_a_checkpoint(small_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))
    (checkpoint / "mm_projector.bin").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"mm_projector\.bin beside the weights"):
        open_checkpoint(checkpoint)


def test_config_rope_parameters_json(checkpoint_copy: Path) -> None:
    expected = open_checkpoint(checkpoint_copy).model.dimensions
    shutil.copy(PARTS / "config.rope_parameters.json", checkpoint_copy / "config.json")
    assert open_checkpoint(checkpoint_copy).model.dimensions == expected


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rope_scaling", {"type": "linear", "factor": 2.0}, "positions are not scaled here"),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}, "positions are not scaled here"),
        ("rope_parameters", {"rope_type": "dynamic", "rope_theta": 10000.0}, "positions are not scaled here"),
        ("rope_parameters", {"rope_theta": 5000.0}, "rope_theta is 10000.0, in rope_parameters 5000.0; which one?"),
        ("rope_parameters", "default", "expected an object"),
        ("hidden_act", "relu", "hidden_act is 'relu'"),
        ("hidden_act", "gelu", "hidden_act is 'gelu'"),
        ("tie_word_embeddings", True, "tie_word_embeddings is True"),
        ("quantization_config", {"bits": 4}, "quantization_config is"),
        ("qk_layernorm", True, "qk_layernorm is not supported"),
        ("rope_scaling", {"rope_type": "default", "type": "linear", "factor": 2.0}, "positions are not scaled here"),
        ("rope_parameters", {"a": {"rope_theta": 1e4}, "b": {"rope_theta": 1e5}}, "positions are not scaled here"),
        ("rotary_pct", 0.5, "partial_rotary_factor is 0.4, in rotary_pct 0.5; which one?"),
        ("hidden_activation", "relu", "in hidden_activation 'relu'; which one?"),
        ("head_dim", 64, "head_dim is 64, expected hidden_size"),
        ("sliding_window", 128, "sliding_window is 128, expected None"),
        ("compression_config", {"bits": 8}, "compression_config is"),
        ("use_parallel_residual", False, "use_parallel_residual is False, expected True"),
    ],
)
def test_settings_that_would_change_the_result(tiny_checkpoint: Path, key: str, value: object, message: str) -> None:
    content = json.loads((tiny_checkpoint / "config.json").read_text())
    with pytest.raises(CheckpointError, match=message):
        parse_config(ConfigJson, {**content, key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope_scaling", None),
        ("rope_scaling", {"rope_type": "default", "rope_theta": 10000.0}),
        ("rope_scaling", {"type": "default"}),
        ("rope_parameters", {}),
        ("hidden_act", "gelu_pytorch_tanh"),
        ("tie_word_embeddings", False),
        ("tie_word_embeddings", None),
        ("quantization_config", None),
        ("quantization_config", {}),
        ("rope_scaling", {"type": "linear", "factor": 1.0}),
        ("rope_parameters", {"full_attention": {"rope_theta": 10000.0, "rope_type": "default"}}),
        ("rope_parameters", {"rope_theta": 10000, "partial_rotary_factor": 0.4, "factor": None}),
        ("rotary_pct", 0.4),
        ("dtype", "bfloat16"),
        ("torch_dtype", "float16"),
        ("attention_dropout", 0.5),
    ],
)
def test_settings_that_change_nothing(tiny_checkpoint: Path, key: str, value: object) -> None:
    content = json.loads((tiny_checkpoint / "config.json").read_text())
    changed = parse_config(ConfigJson, {**content, key: value, "head_dim": 20}).model_copy(
        update={"hidden_act": content["hidden_act"], "head_dim": None}
    )
    assert changed == parse_config(ConfigJson, content)


PLACES: dict[str, Callable[[Path, int], None]] = {
    "added_tokens.json": lambda folder, token_id: write(folder / "added_tokens.json", {"[SEG]": token_id}),
    "added_tokens_decoder": lambda folder, token_id: write(
        folder / "tokenizer_config.json", {"added_tokens_decoder": {str(token_id): {"content": "[SEG]"}}}
    ),
    "additional_special_tokens": lambda folder, token_id: write(
        folder / "special_tokens_map.json", {"additional_special_tokens": ["[SEG]"]}
    ),
    "extra_special_tokens": lambda folder, token_id: write(
        folder / "tokenizer_config.json", {"extra_special_tokens": {"seg_token": {"content": "[SEG]"}}}
    ),
}


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def test_tokenizer_without_seg_json(checkpoint_copy: Path) -> None:
    expected = open_checkpoint(checkpoint_copy).model.dimensions
    shutil.copy(PARTS / "tokenizer.without_seg.json", checkpoint_copy / FAST)
    assert open_checkpoint(checkpoint_copy).model.dimensions == expected


@pytest.mark.parametrize("place", PLACES)
def test_added_tokens_in_any_of_their_places(tmp_path: Path, place: str) -> None:
    shutil.copy(PARTS / "tokenizer.without_seg.json", tmp_path / FAST)
    assert load_tokenizer(tmp_path).token_to_id("[SEG]") is None
    PLACES[place](tmp_path, 439)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.token_to_id("[SEG]") == 439
    assert tokenizer.encode("a [SEG]", add_special_tokens=False).ids[-1] == 439


def test_two_files_that_give_a_token_two_ids(tmp_path: Path) -> None:
    shutil.copy(PARTS / "tokenizer.without_seg.json", tmp_path / FAST)
    write(tmp_path / "added_tokens.json", {"<|endoftext|>": 401})
    with pytest.raises(CheckpointError, match=r"'<\|endoftext\|>' should get id 401, gets 400; .*files disagree"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("key", ["rotary_pct", "rope_pct"])
def test_another_word_for_the_rotary_share(tiny_checkpoint: Path, key: str) -> None:
    content = json.loads((tiny_checkpoint / "config.json").read_text())
    renamed = {key: content["partial_rotary_factor"], **content, "partial_rotary_factor": None}
    assert parse_config(ConfigJson, renamed) == parse_config(ConfigJson, content)


def test_a_config_with_a_byte_order_mark(checkpoint_copy: Path) -> None:
    content = (checkpoint_copy / "config.json").read_bytes()
    (checkpoint_copy / "config.json").write_bytes(b"\xef\xbb\xbf" + content)
    assert Checkpoint.open(checkpoint_copy).config == json.loads(content)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_forward_module.", "model.", "ema.x."]
)
def test_wrapper_prefixes(small_checkpoint: Path, tmp_path: Path, prefix: str) -> None:
    folder = rewritten(small_checkpoint, tmp_path, lambda name: prefix + name)
    assert same_weights(folder, small_checkpoint)


def test_a_compiled_part(small_checkpoint: Path, tmp_path: Path) -> None:
    folder = rewritten(
        small_checkpoint, tmp_path, lambda name: name.replace("model.layers.", "model._orig_mod.layers.")
    )
    assert same_weights(folder, small_checkpoint)


def test_harmless_buffers(small_checkpoint: Path, tmp_path: Path) -> None:
    """`inv_freq`, `position_ids`, masks of windows: computed here, accounted for with a reason."""
    buffers = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.rotary_emb.inv_freq": torch.ones(4),
        "model.vision_tower.vision_model.embeddings.position_ids": torch.arange(25)[None],
        "model.vision_tower_mask.layers.0.blocks.0.attn_mask": torch.ones(4, 36, 36),
        "model.rotary_emb.original_inv_freq": torch.ones(4),
        "model.layers.0.self_attn.bias": torch.ones(1, 1, 5, 5, dtype=torch.bool).tril(),
        "model.layers.0.self_attn.masked_bias": torch.tensor(-1e9),
        "model.norm.num_batches_tracked": torch.tensor(7),
    }
    folder = rewritten(small_checkpoint, tmp_path, lambda name: name, buffers)
    opened = open_checkpoint(folder)
    accounted = {**opened.model.key_map.dropped, **opened.model.key_map.checked}
    assert set(buffers) <= set(accounted) and same_weights(folder, small_checkpoint)


def test_positions_that_are_not_counted_from_0(small_checkpoint: Path, tmp_path: Path) -> None:
    name = "model.vision_tower.vision_model.embeddings.position_ids"
    folder = rewritten(small_checkpoint, tmp_path, lambda name: name, {name: torch.arange(25)[None] + 1})
    with pytest.raises(CheckpointError, match=r"position_ids: positions are counted from 0"):
        open_checkpoint(folder)


def rewritten(
    source: Path, tmp_path: Path, rename: Callable[[str], str], extra: dict[str, torch.Tensor] | None = None
) -> Path:
    """The checkpoint as one file with other names."""
    folder = Path(shutil.copytree(source, tmp_path / "rewritten"))
    tensors: dict[str, torch.Tensor] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(shard)
        shard.unlink()
    (folder / "model.safetensors.index.json").unlink()
    save_file(
        {**{rename(name): tensor for name, tensor in tensors.items()}, **(extra or {})}, folder / "model.safetensors"
    )
    return folder


def same_weights(one: Path, other: Path) -> bool:
    models = [open_checkpoint(folder).model for folder in (one, other)]
    stored = [{name: model.weights.stored(name) for name in sorted(model.key_map.origins)[::9]} for model in models]
    return all(torch.equal(tensor, stored[1][name]) for name, tensor in stored[0].items())


@pytest.mark.parametrize("file", [SHARD, "config.json", "model.safetensors.index.json", FAST])
def test_lfs_pointer(checkpoint_copy: Path, file: str) -> None:
    shutil.copy(PARTS / "lfs_pointer.safetensors", checkpoint_copy / file)
    with pytest.raises(CheckpointError, match=rf"{file}.* a Git LFS pointer.*git lfs pull") as caught:
        open_checkpoint(checkpoint_copy)
    assert "download it again" not in str(caught.value)


@pytest.mark.parametrize("file", [SHARD, "config.json", "model.safetensors.index.json"])
def test_a_dangling_link(checkpoint_copy: Path, file: str) -> None:
    (checkpoint_copy / file).unlink()
    (checkpoint_copy / file).symlink_to("../blobs/123")
    with pytest.raises(CheckpointError, match=rf"{file}: a link to \.\./blobs/123, which does not exist"):
        open_checkpoint(checkpoint_copy)


def test_a_link_of_the_hub_cache_is_followed(checkpoint_copy: Path) -> None:
    """A checkpoint may be made of links; a bundle may not."""
    blobs = checkpoint_copy.parent / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(checkpoint_copy.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(f"../blobs/{number}")
    assert open_checkpoint(checkpoint_copy).family.name == "hyperseg"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("file", [SHARD, "config.json", "."])
def test_an_unreadable_file_of_somebody_else(checkpoint_copy: Path, file: str) -> None:
    """The check itself runs as nobody; nothing of the checkpoint is read before it fails."""
    for folder in checkpoint_copy.parents:
        if folder.stat().st_uid == os.getuid() and folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    checkpoint_copy.chmod(0o755)
    for path in checkpoint_copy.iterdir():
        path.chmod(0o644)
    (checkpoint_copy / file).chmod(0o600)
    program = (
        "import os, sys; from pathlib import Path; from hyperseg_export.checkpoint.folder import Checkpoint\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "Checkpoint.open(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, checkpoint_copy], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "CheckpointError" in last and "cannot be read (Permission denied): see its owner and its mode" in last


def test_make_tiny_writes_what_others_can_read(run_cli: RunCli, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        assert run_cli("make-tiny", tmp_path / "tiny").code == 0
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "tiny").iterdir()} == {0o644}
