"""Checkpoint folders: what is read, when, and what each kind of damage is called."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from hyperseg_export.checkpoint import folder as shards
from hyperseg_export.checkpoint.folder import CONFIG, INDEX, SINGLE, Checkpoint, read_json
from hyperseg_runtime.errors import CheckpointError

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
TENSORS = {
    "a.weight": torch.arange(6, dtype=torch.float16).reshape(2, 3),
    "b.index": torch.arange(4),
    "c.flag": torch.tensor([True, False]),
    "d.scale": torch.tensor(2.5, dtype=torch.bfloat16),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four tensors in two shards."""
    names = list(TENSORS)
    write_shard(tmp_path / FIRST, *names[:2])
    write_shard(tmp_path / SECOND, *names[2:])
    write_index(tmp_path, dict(zip(names, (FIRST, FIRST, SECOND, SECOND), strict=True)))
    (tmp_path / CONFIG).write_text('{"width": 3}')
    return tmp_path


def test_all_headers_are_read(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.config == {"width": 3}
    assert checkpoint.shapes == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    assert checkpoint.dtypes == {name: tensor.dtype for name, tensor in TENSORS.items()}
    assert {name: checkpoint.bytes_of(name) for name in TENSORS} == {n: t.nbytes for n, t in TENSORS.items()}
    assert all(torch.equal(checkpoint.tensor(name), tensor) for name, tensor in TENSORS.items())


def test_one_file_without_an_index_is_a_checkpoint(tmp_path: Path) -> None:
    write_shard(tmp_path / SINGLE, *TENSORS)
    (tmp_path / CONFIG).write_text("{}")
    assert Checkpoint.open(tmp_path).shapes.keys() == TENSORS.keys()


def test_tensors_are_read_when_asked_for(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    save_file({"a.weight": TENSORS["a.weight"] + 1, "b.index": TENSORS["b.index"]}, folder / FIRST)
    assert torch.equal(checkpoint.tensor("a.weight"), TENSORS["a.weight"] + 1)


@pytest.mark.parametrize(("at_once", "openings"), [(1, 4), (12, 3), (44, 2), (1000, 2)])
def test_a_shard_is_opened_anew_only_when_much_was_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, openings: int
) -> None:
    """12 and 32 bytes are in the first shard, 2 and 2 in the second."""
    checkpoint, real, opened = Checkpoint.open(folder), shards._opened, list[Path]()

    def counted(path: Path) -> Any:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(shards, "READ_AT_ONCE_BYTES", at_once)
    monkeypatch.setattr(shards, "_opened", counted)
    assert all(torch.equal(checkpoint.tensor(name), tensor) for name, tensor in TENSORS.items())
    assert len(opened) == openings


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        Checkpoint.open(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json is missing; found: model-00001"),
        ("{", "cannot be read"),
        ("", "cannot be read"),
        ("[1]", "holds no JSON object"),
        ('"text"', "holds no JSON object"),
        (b"\xff\xfe{}", "cannot be read"),
    ],
)
def test_a_config_that_is_no_json_object(folder: Path, content: str | bytes | None, message: str) -> None:
    (folder / CONFIG).unlink()
    if content is not None:
        (folder / CONFIG).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(folder)


def test_a_missing_shard_is_named_with_what_is_there(folder: Path) -> None:
    (folder / SECOND).unlink()
    with pytest.raises(CheckpointError, match=f"shard {SECOND} is missing; found: .*{FIRST}"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("kept", [0, 1, 8, 60, -1])
def test_a_truncated_shard_is_named_with_its_size(folder: Path, kept: int) -> None:
    data = (folder / FIRST).read_bytes()[:kept]
    (folder / FIRST).write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"shard {FIRST} \({len(data)} bytes\) is truncated.*download it again"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("file", ["../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "", 7, None])
def test_an_index_that_leads_elsewhere(folder: Path, file: object) -> None:
    write_index(folder, {"a.weight": file})
    with pytest.raises(CheckpointError, match=r"places a.weight in .*, not a file name"):
        Checkpoint.open(folder)


def test_an_index_that_names_an_absent_file(folder: Path) -> None:
    write_index(folder, {**index_of(folder), "a.weight": "model-00003-of-00002.safetensors"})
    with pytest.raises(CheckpointError, match=r"shard model-00003-of-00002\.safetensors is missing"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": ["a"]}', '{"weight_map": null}'])
def test_an_index_without_a_weight_map(folder: Path, content: str) -> None:
    (folder / INDEX).write_text(content)
    with pytest.raises(CheckpointError, match="has no weight_map"):
        Checkpoint.open(folder)


def test_an_index_that_names_the_wrong_shard(folder: Path) -> None:
    write_index(folder, {**index_of(folder), "a.weight": SECOND, "e.new": SECOND})
    expected = rf"{INDEX} places a.weight in {SECOND}, which does not hold it \(2 such tensors\)"
    with pytest.raises(CheckpointError, match=expected):
        Checkpoint.open(folder)


def test_a_tensor_in_two_shards(folder: Path) -> None:
    write_shard(folder / SECOND, "a.weight", "c.flag", "d.scale")
    with pytest.raises(CheckpointError, match=f"a.weight is in both {FIRST} and {SECOND}"):
        Checkpoint.open(folder)


def test_a_tensor_that_the_index_does_not_list(folder: Path) -> None:
    write_index(folder, {name: file for name, file in index_of(folder).items() if name != "b.index"})
    with pytest.raises(CheckpointError, match=f"{FIRST} holds b.index, not in {INDEX}"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("pickles", [[], ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]])
def test_a_folder_without_safetensors(tmp_path: Path, pickles: list[str]) -> None:
    (tmp_path / CONFIG).write_text("{}")
    for name in pickles:
        (tmp_path / name).write_bytes(b"\x80\x02.")
    hint = "pytorch_model-00001-of-00002.bin is a pickle and can run code: convert it to safetensors"
    with pytest.raises(CheckpointError, match=f"expected {INDEX} or {SINGLE}; found: config.json") as error:
        Checkpoint.open(tmp_path)
    assert (hint in str(error.value)) == bool(pickles)


def test_an_unknown_dtype_is_named_with_the_known_ones(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2, dtype=torch.int16)}, tmp_path / SINGLE)
    (tmp_path / CONFIG).write_text("{}")
    with pytest.raises(CheckpointError, match=r"x has dtype I16; known: F64, F32, .*BOOL"):
        Checkpoint.open(tmp_path)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([FIRST, SECOND]), st.data())
def test_the_fingerprint_changes_with_any_byte_of_a_shard(folder: Path, shard: str, data: st.DataObject) -> None:
    checkpoint = Checkpoint.open(folder)
    before, content = checkpoint.fingerprint(), (folder / shard).read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytes([content[place] ^ data.draw(st.integers(1, 255))])
    (folder / shard).write_bytes(content[:place] + changed + content[place + 1 :])
    after = checkpoint.fingerprint()
    (folder / shard).write_bytes(content)
    assert after != before
    assert checkpoint.fingerprint() == before


def test_the_fingerprint_depends_on_the_config_but_not_on_its_layout(folder: Path) -> None:
    def with_config(text: str) -> str:
        (folder / CONFIG).write_text(text)
        return Checkpoint.open(folder).fingerprint()

    one = with_config('{"a": 1, "b": 2}')
    assert with_config('{ "b": 2,\n "a": 1 }') == one
    assert with_config('{"a": 1, "b": 3}') != one


def test_the_fingerprint_changes_with_the_name_of_a_shard(folder: Path) -> None:
    before = Checkpoint.open(folder).fingerprint()
    (folder / SECOND).rename(folder / "other.safetensors")
    weight_map = index_of(folder)
    write_index(folder, {name: "other.safetensors" if file == SECOND else file for name, file in weight_map.items()})
    assert Checkpoint.open(folder).fingerprint() != before


def test_read_json_names_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(CheckpointError, match=f"{tmp_path}: other.json holds no JSON object"):
        read_json(tmp_path / "other.json")


def write_shard(path: Path, *names: str) -> None:
    tensors: dict[str, Tensor] = {name: TENSORS[name] for name in names}
    save_file(tensors, path)


def write_index(folder: Path, weight_map: dict[str, object]) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def index_of(folder: Path) -> dict[str, object]:
    weight_map: dict[str, object] = json.loads((folder / INDEX).read_text())["weight_map"]
    return weight_map
