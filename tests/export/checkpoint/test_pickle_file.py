"""Pickled checkpoints: tensors are read, everything else is refused, and each kind of damage has a name."""

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hyperseg_export.checkpoint.pickle_file import PickleCheckpoint, find_pickle
from hyperseg_runtime.errors import CheckpointError

TENSORS = {
    "a.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "a.index": torch.arange(4),
    "b.flag": torch.tensor([True, False]),
    "b.scale": torch.tensor(2.5, dtype=torch.bfloat16),
    "b.turned": torch.arange(6, dtype=torch.float16).reshape(2, 3).t(),
}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def prefixed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        OrderedDict(TENSORS),
        {"state_dict": TENSORS},
        {"state_dict": OrderedDict(prefixed(TENSORS))},
        {"model": TENSORS, "epoch": 50, "optimizer": {"state": {}, "lr": [1e-4]}},
        {"net": prefixed(TENSORS)},
        {"state_dict": prefixed(TENSORS), "epoch": 50, "best_iou": 0.71, "optimizer": {"state": {}, "lr": [1e-4]}},
        {"state_dict": TENSORS, "best_iou": torch.tensor(0.71), "hyper_parameters": {}},
    ],
    ids=[
        "bare",
        "ordered",
        "nested",
        "prefixed",
        "model of a training run",
        "net",
        "of a training run",
        "loose tensor",
    ],
)
def test_tensors_are_found_where_releases_keep_them(tmp_path: Path, content: object) -> None:
    checkpoint = PickleCheckpoint.open(saved(tmp_path / "model.pth", content))
    assert checkpoint.names == sorted(TENSORS)
    assert checkpoint.shapes == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    assert checkpoint.dtypes == {name: tensor.dtype for name, tensor in TENSORS.items()}
    assert {name: checkpoint.bytes_of(name) for name in TENSORS} == {n: t.nbytes for n, t in TENSORS.items()}
    assert all(torch.equal(checkpoint.tensor(name), tensor) for name, tensor in TENSORS.items())
    assert checkpoint.config == {}


def test_parameters_come_without_gradients(tmp_path: Path) -> None:
    checkpoint = PickleCheckpoint.open(saved(tmp_path / "model.pth", {"w": nn.Parameter(torch.ones(3))}))
    assert not checkpoint.tensor("w").requires_grad


def test_data_stays_in_the_file(tmp_path: Path) -> None:
    """Mapped: opening 256 MB takes next to no memory."""
    path = saved(tmp_path / "model.pth", {"w": torch.ones(64_000_000)})
    before = resident_bytes()
    checkpoint = PickleCheckpoint.open(path)
    assert resident_bytes() - before < 64_000_000
    assert checkpoint.tensor("w")[-1] == 1


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_folder_with_one_file_and_a_config(tmp_path: Path) -> None:
    saved(tmp_path / "model.pth", TENSORS)
    (tmp_path / "config.json").write_text('{"hyperseg_trt": {"image_px": 96}}')
    (tmp_path / "README.md").write_text("about")
    checkpoint = PickleCheckpoint.open(tmp_path)
    assert checkpoint.path == tmp_path / "model.pth"
    assert checkpoint.directory == tmp_path
    assert checkpoint.config == {"hyperseg_trt": {"image_px": 96}}


def test_a_folder_with_no_or_several_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected one file ending in \.pth, \.pt, found none"):
        find_pickle(tmp_path)
    for name in ("a.pth", "b.pt"):
        saved(tmp_path / name, TENSORS)
    with pytest.raises(CheckpointError, match=r"found a\.pth, b\.pt; name the one that is meant"):
        find_pickle(tmp_path)
    with pytest.raises(CheckpointError, match="no such file or folder"):
        find_pickle(tmp_path / "absent")


@pytest.mark.parametrize("name", ["mm_projector.bin", "extra.safetensors", "non_lora_trainables.bin"])
def test_weights_beside_the_file_of_a_folder(tmp_path: Path, name: str) -> None:
    """As beside shards; a file that is named is meant alone."""
    path = saved(tmp_path / "model.pth", TENSORS)
    for harmless in ("training_args.bin", "pytorch_model.bin"):
        (tmp_path / harmless).write_bytes(b"PK")
    assert PickleCheckpoint.open(tmp_path).names == sorted(TENSORS)
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=rf"{name} beside the weights would be left out"):
        PickleCheckpoint.open(tmp_path)
    assert PickleCheckpoint.open(path).names == sorted(TENSORS)


def test_equal_checkpoints_have_equal_fingerprints(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pth", TENSORS)
    first = PickleCheckpoint.open(path).fingerprint()
    assert PickleCheckpoint.open(path).fingerprint() == first
    (tmp_path / "config.json").write_text(json.dumps({"hyperseg_trt": {"image_px": 96}}))
    assert PickleCheckpoint.open(path).fingerprint() != first


class Callback:
    """What a hostile file would do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(Path(os.environ["PICKLE_TEST_FOLDER"]) / "ran"),)


@pytest.mark.parametrize("where", ["content", "beside", "inside"])
def test_code_is_not_run(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICKLE_TEST_FOLDER", str(tmp_path))
    content = {
        "content": Callback(),
        "beside": {"state_dict": TENSORS, "extra": Callback()},
        "inside": {"state_dict": {**TENSORS, "w": Callback()}},
    }[where]
    path = saved(tmp_path / "model.pth", content)
    with pytest.raises(CheckpointError, match=r"can run code: .*mkdir.*save its tensors alone: torch\.save"):
        PickleCheckpoint.open(path)
    assert not (tmp_path / "ran").exists()


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pth", nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        PickleCheckpoint.open(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"module.w": torch.ones(1), "w": torch.ones(1)}}, "holds both w and module.w"),
        ({"w": 1.5}, "w is float, expected a tensor"),
        ({"w": [torch.ones(1)]}, "w is list, expected a tensor"),
        ({"w": {"v": {"u": torch.ones(1)}}}, "w is dict, expected a tensor"),
        ({"model": {"v": torch.ones(1)}, "w": torch.ones(1)}, "model is dict, expected a tensor"),
        ({3: torch.ones(1)}, "a tensor is named 3"),
        ({"w": torch.ones(1, dtype=torch.complex64)}, "w is torch.strided torch.complex64"),
        ({"w": torch.eye(2).to_sparse()}, "w is torch.sparse_coo"),
        ({"state_dict": {}}, "holds no tensors"),
        ({"model": {"w": torch.ones(1)}, "ema": {"w": torch.ones(1)}}, r"several sets of tensors \(model, ema\)"),
        (
            {"state_dict": {"w": torch.ones(1)}, "state_dict_ema": {"w": torch.zeros(1)}},
            r"several sets of tensors \(state_dict, state_dict_ema\); save the one that is meant alone",
        ),
        ({"model": {"w": torch.ones(1)}, "state_dict": {}}, r"several sets of tensors \(model, state_dict\)"),
        ({}, "holds no tensors"),
        ([torch.ones(1)], "holds a list, expected tensors by name"),
        (torch.ones(1), "holds a Tensor, expected tensors by name"),
    ],
)
def test_content_that_is_no_state_dict(content: object, message: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pth", content)
    with pytest.raises(CheckpointError, match=message):
        PickleCheckpoint.open(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html>quota exceeded</html>", "a web page, not the file"),
        (b"<html>", "a web page, not the file"),
        (pickle.dumps({"w": 1}), "in the format of PyTorch before 1.6"),
        (b"", r"no PyTorch checkpoint \(0 bytes"),
        (b"\x93NUMPY", "no PyTorch checkpoint"),
        (b"PK\x03\x04 and no more", "truncated or damaged.*download it again"),
    ],
)
def test_files_that_are_something_else(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        PickleCheckpoint.open(path)


def test_the_format_before_archives(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"PyTorch before 1\.6.*torch\.save"):
        PickleCheckpoint.open(path)


def test_archives_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"an archive of readme\.txt, \.\.\., not one of PyTorch tensors"):
        PickleCheckpoint.open(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", "")
        archive.writestr("net/constants.pkl", "")
    with pytest.raises(CheckpointError, match="a TorchScript program"):
        PickleCheckpoint.open(path)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), change=st.one_of(st.just(b""), st.binary(min_size=1, max_size=40)))
def test_a_damaged_file_is_read_right_or_refused(position: float, change: bytes, tmp_path: Path) -> None:
    """Truncated there, or overwritten there: never another error, and never other names or shapes unnoticed."""
    path = saved(tmp_path / "model.pth", {"state_dict": prefixed(TENSORS)})
    data = bytearray(path.read_bytes())
    start = int(position * (len(data) - 1))
    if change:
        data[start : start + len(change)] = change
    else:
        del data[start:]
    path.write_bytes(bytes(data))
    try:
        checkpoint = PickleCheckpoint.open(path)
    except CheckpointError:
        return
    assert all(isinstance(checkpoint.tensor(name), Tensor) for name in checkpoint.names)
