"""Every kind of bad input: one clear message, its exit code, and nothing half-written."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support import RunCli

INPUT, PARITY, BUNDLE = 2, 5, 6
SHARD = "model-00001-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def export_fails(run_cli: RunCli, checkpoint_copy: Path, tmp_path: Path) -> Callable[[], str]:
    """Export the broken checkpoint; returns the message after checking code and leftovers."""

    def attempt(code: int = INPUT) -> str:
        result = run_cli("export", checkpoint_copy, tmp_path / "bundle")
        assert result.code == code, result
        assert result.out == ""
        assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]
        return str(result.err)

    return attempt


def test_missing_shard(checkpoint_copy: Path, export_fails: Callable[[], str]) -> None:
    (checkpoint_copy / SHARD).unlink()
    message = export_fails()
    assert f"shard {SHARD} is missing" in message
    assert "model-00002-of-00002.safetensors" in message  # what is there


def test_truncated_shard(checkpoint_copy: Path, export_fails: Callable[[], str]) -> None:
    data = (checkpoint_copy / SHARD).read_bytes()
    (checkpoint_copy / SHARD).write_bytes(data[: len(data) // 2])
    message = export_fails()
    assert f"shard {SHARD} ({len(data) // 2} bytes) is truncated or damaged" in message
    assert "download it again" in message


def test_wrong_shape(checkpoint_copy: Path, export_fails: Callable[[], str]) -> None:
    edit_tensor(checkpoint_copy, "model.layers.1.mlp.fc2.weight", lambda tensor: tensor[:, :-1].clone())
    message = export_fails()
    assert "model.layers.1.mlp.fc2.weight (80, 159): expected (80, 160)" in message


def test_unknown_key(checkpoint_copy: Path, export_fails: Callable[[], str]) -> None:
    edit_tensor(checkpoint_copy, "predictor.brand_new.weight", lambda tensor: torch.ones(3))
    message = export_fails()
    assert "1 tensor(s) not known to this family" in message
    assert "predictor.brand_new.weight" in message


def test_missing_key(checkpoint_copy: Path, export_fails: Callable[[], str]) -> None:
    edit_tensor(checkpoint_copy, "seg_query_projector.bias", lambda tensor: None)
    message = export_fails()
    assert "1 tensor(s) missing from the checkpoint" in message
    assert "seg_query_projector.bias" in message


def test_missing_tokenizer(checkpoint_copy: Path, export_fails: Callable[[], str]) -> None:
    (checkpoint_copy / "merges.txt").unlink()
    message = export_fails()
    assert "the tokenizer is missing: expected tokenizer.json, or vocab.json and merges.txt" in message
    assert "merges.txt not found" in message


def test_another_model_family(checkpoint_copy: Path, export_fails: Callable[[], str]) -> None:
    names = [name for name in read_index(checkpoint_copy) if name.startswith("mgvp_layers.")]
    for name in names:
        edit_tensor(checkpoint_copy, name, lambda tensor: None)
    edit_tensor(checkpoint_copy, "somebody_elses.weight", lambda tensor: torch.ones(2, 2))
    message = export_fails()
    assert "no known family" in message
    assert "families known here: hyperseg" in message


def test_pickled_weights(checkpoint_copy: Path, export_fails: Callable[[], str]) -> None:
    for path in checkpoint_copy.glob("*.safetensors*"):
        path.unlink()
    (checkpoint_copy / "pytorch_model.bin").write_bytes(b"pickle")
    message = export_fails()
    assert "pytorch_model.bin is a pickle and can run code: convert it to safetensors" in message


@pytest.fixture
def run_fails(run_cli: RunCli, tiny_bundle: Path, tmp_path: Path) -> Callable[..., str]:
    """Run on the given image and text; returns the message after checking code and leftovers."""

    def attempt(image: Path, text: str = "the cup", bundle: Path = tiny_bundle, code: int = INPUT) -> str:
        before = sorted(tmp_path.rglob("*"))
        result = run_cli("run", bundle, image, text, "--out", tmp_path / "new" / "results")
        assert result.code == code, result
        assert result.out == ""
        assert sorted(tmp_path.rglob("*")) == before
        return str(result.err)

    return attempt


def test_corrupt_image(run_fails: Callable[..., str], coffee: Path, tmp_path: Path) -> None:
    image = tmp_path / "half.jpg"
    image.write_bytes(coffee.read_bytes()[:20_000])
    assert "half.jpg: damaged image" in run_fails(image)


def test_file_that_is_no_image(run_fails: Callable[..., str], tmp_path: Path) -> None:
    image = tmp_path / "note.png"
    image.write_text("just text")
    assert "note.png: not an image; readable are PNG, JPEG" in run_fails(image)


def test_zip_bombed_image(run_fails: Callable[..., str], tmp_path: Path) -> None:
    """100 kB that would decode to 30 GB is refused from the header."""
    image = tmp_path / "bomb.png"
    image.write_bytes(bomb_png(width=100_000, height=100_000))
    message = run_fails(image)
    assert "bomb.png" in message
    assert "100000000" in message  # the limit


def test_missing_image(run_fails: Callable[..., str], tmp_path: Path) -> None:
    assert "nowhere.jpg: no such file" in run_fails(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize("text", [" ", "   \n"])
def test_empty_expression(run_fails: Callable[..., str], coffee: Path, text: str) -> None:
    assert "the text is empty; say what to look for" in run_fails(coffee, text)


def test_ten_thousand_words(run_fails: Callable[..., str], coffee: Path) -> None:
    message = run_fails(coffee, " ".join(["cup"] * 10_000))
    assert "characters, at most 20000 are read" in message


def test_a_text_longer_than_the_context(run_fails: Callable[..., str], coffee: Path) -> None:
    message = run_fails(coffee, " ".join(["cup"] * 300))
    assert "the model was exported for 384" in message
    assert "--context" in message


def test_reserved_token(run_fails: Callable[..., str], coffee: Path) -> None:
    assert "'[SEG]', which the model reserves" in run_fails(coffee, "the [SEG] cup")


def test_unwritable_output(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run_cli("run", tiny_bundle, coffee, "the cup", "--out", tmp_path / "file" / "results")
    assert result.code == INPUT
    assert "cannot be written" in result.err
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_changed_byte(run_fails: Callable[..., str], bundle_copy: Path, coffee: Path) -> None:
    path = bundle_copy / "graphs" / "llm.data"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    message = run_fails(coffee, bundle=bundle_copy, code=BUNDLE)
    assert "the content of graphs/llm.data differs from the manifest's hash" in message


@pytest.mark.parametrize("path", ["../outside.onnx", "/etc/passwd", "graphs/../../outside.onnx", "C:\\outside.onnx"])
def test_a_path_that_escapes(run_fails: Callable[..., str], bundle_copy: Path, coffee: Path, path: str) -> None:
    def escape(manifest: dict) -> None:
        manifest["files"][path] = manifest["files"].pop("graphs/llm.onnx")
        graph = next(graph for graph in manifest["graphs"] if graph["spec"]["name"] == "llm")
        graph["file"] = path

    edit_manifest(bundle_copy, escape)
    message = run_fails(coffee, bundle=bundle_copy, code=BUNDLE)
    assert "leads out of the bundle" in message


def test_a_link_that_escapes(run_fails: Callable[..., str], bundle_copy: Path, coffee: Path, tmp_path: Path) -> None:
    inside = bundle_copy / "graphs" / "llm.onnx"
    inside.rename(tmp_path / "outside.onnx")
    inside.symlink_to(tmp_path / "outside.onnx")
    message = run_fails(coffee, bundle=bundle_copy, code=BUNDLE)
    assert "graphs/llm.onnx goes through a link" in message


def test_a_newer_manifest(run_fails: Callable[..., str], bundle_copy: Path, coffee: Path) -> None:
    edit_manifest(bundle_copy, lambda manifest: manifest.update(format_version=2))
    message = run_fails(coffee, bundle=bundle_copy, code=BUNDLE)
    assert "format version 2, this program reads 1; upgrade hyperseg-trt" in message


def test_an_unfinished_bundle(run_fails: Callable[..., str], bundle_copy: Path, coffee: Path) -> None:
    (bundle_copy / "manifest.json").unlink()
    assert "manifest.json is missing" in run_fails(coffee, bundle=bundle_copy, code=BUNDLE)


def test_verify_with_another_checkpoint(run_cli: RunCli, tiny_bundle: Path, checkpoint_copy: Path) -> None:
    edit_tensor(checkpoint_copy, "seg_query", lambda tensor: tensor * 2)
    result = run_cli("verify", tiny_bundle, "--checkpoint", checkpoint_copy)
    assert result.code == INPUT
    assert "is not what" in result.err


def test_verify_needs_something_to_compare_with(run_cli: RunCli, tiny_bundle: Path, tmp_path: Path) -> None:
    result = run_cli("verify", tiny_bundle)
    assert result.code == INPUT
    assert "needs --checkpoint" in result.err
    result = run_cli("verify")
    assert result.code == INPUT
    assert "either BUNDLE (with --checkpoint) or --golden DIR" in result.err
    result = run_cli("verify", "--golden", tmp_path)
    assert result.code == INPUT
    assert "manifest.json cannot be read" in result.err


def edit_tensor(checkpoint: Path, name: str, change: Callable[..., torch.Tensor | None]) -> None:
    """Replace, add or (on None) remove a tensor, keeping the index right."""
    weight_map = read_index(checkpoint)
    file = weight_map.get(name, SHARD)
    tensors = load_file(checkpoint / file)
    changed = change(tensors.pop(name, None))
    if changed is None:
        del weight_map[name]
    else:
        tensors[name], weight_map[name] = changed, file
    save_file(tensors, checkpoint / file)
    (checkpoint / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def read_index(checkpoint: Path) -> dict[str, str]:
    weight_map: dict[str, str] = json.loads((checkpoint / INDEX).read_text())["weight_map"]
    return weight_map


def edit_manifest(bundle: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def bomb_png(width: int, height: int) -> bytes:
    """A valid header over rows of zeros, compressed to almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(100_000_000), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
