"""Folders, COCO files and parquet files as inputs of a batch."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from hyperseg_runtime.batch import inputs as inputs_module
from hyperseg_runtime.batch.inputs import open_inputs
from hyperseg_runtime.errors import EnvironmentMissingError, ImageError, InputError

PIXELS = np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8)


def png(folder: Path, name: str) -> bytes:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path)
    return path.read_bytes()


def test_a_folder_with_folders(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.png"):
        png(tmp_path, name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    inputs = open_inputs(tmp_path)
    assert list(inputs.keys) == ["a/c.png", "b.png", "broken.jpg"]
    assert list(inputs.left_out) == [("notes.txt", "no image", False)]
    item = inputs.item("a/c.png")
    assert item.name == "a/c.png" and np.array_equal(item.pixels_hwc_u8, PIXELS) and item.texts == ()
    with pytest.raises(ImageError):
        inputs.item("broken.jpg")


def test_the_images_of_a_coco_file(tmp_path: Path) -> None:
    png(tmp_path, "val/7.png")
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": [{"id": 7, "file_name": "val/7.png"}], "annotations": []}))
    inputs = open_inputs(path)
    assert list(inputs.keys) == ["val/7.png"] and np.array_equal(inputs.item("val/7.png").pixels_hwc_u8, PIXELS)


def test_rows_of_a_parquet_file(tmp_path: Path) -> None:
    data = png(tmp_path, "x.png")
    images = [{"bytes": data, "path": None}, {"bytes": None, "path": "x.png"}, {"bytes": None, "path": None}]
    texts = [["a", "b"], [], None]
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"image": images, "text": texts, "other": [1, 2, 3]}), path, row_group_size=2)
    inputs = open_inputs(path)
    assert list(inputs.keys) == ["0", "1", "2"]
    first, second = inputs.item("0"), inputs.item("1")
    assert (first.name, first.texts, second.texts) == ("data.parquet.000000", ("a", "b"), ())
    assert first.source != second.source
    assert np.array_equal(first.pixels_hwc_u8, PIXELS) and np.array_equal(second.pixels_hwc_u8, PIXELS)
    with pytest.raises(ImageError, match="holds no image"):
        inputs.item("2")


def test_a_stamp_tells_a_file_that_was_replaced(tmp_path: Path) -> None:
    png(tmp_path / "images", "x.png")
    png(tmp_path / "images", "y.png")
    inputs = open_inputs(tmp_path / "images")
    before = [inputs.stamp(key) for key in inputs.keys]
    assert before == [open_inputs(tmp_path / "images").stamp(key) for key in inputs.keys]
    touched(tmp_path / "images" / "x.png")
    (tmp_path / "images" / "y.png").write_bytes(b"shorter")
    assert not set(before) & {inputs.stamp(key) for key in inputs.keys}
    (tmp_path / "images" / "y.png").unlink()
    assert inputs.stamp("y.png") == ""


@pytest.mark.parametrize("form", ["paths", "structs"])
def test_stamps_of_images_beside_a_parquet_file(tmp_path: Path, form: str) -> None:
    data = png(tmp_path, "x.png")
    png(tmp_path, "y.png")
    paths: list[object] = ["x.png", "y.png"]
    inside = [{"bytes": data, "path": "inside.png"}]
    images = paths if form == "paths" else [*({"bytes": None, "path": path} for path in paths), *inside]
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"image": images}), path)

    def stamps() -> list[str]:
        inputs = open_inputs(path)
        return [inputs.stamp(key) for key in inputs.keys]

    before = stamps()
    assert stamps() == before
    touched(tmp_path / "x.png")
    assert [now == then for now, then in zip(stamps(), before, strict=True)] == [False, *[True] * (len(images) - 1)]
    touched(path)
    assert not set(before) & set(stamps())


def touched(path: Path) -> None:
    """As if it was written a second later."""
    time_ns = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(time_ns, time_ns))


def test_plain_bytes_and_one_text(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"image": [png(tmp_path, "x.png")], "text": ["the cup"]}), path)
    inputs = open_inputs(path)
    item = inputs.item("0")
    assert inputs.stamp("0") and item.texts == ("the cup",) and np.array_equal(item.pixels_hwc_u8, PIXELS)


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    """Each is an item that fails; the others are worked on."""
    path, data = tmp_path / "data.parquet", png(tmp_path, "x.png")
    parquet.write_table(pyarrow.table({"image": [data, data], "text": [1, 2]}), path)
    with pytest.raises(InputError, match=r"row 0 of .*: its text is 1, expected one text or a list of them"):
        open_inputs(path).item("0")
    parquet.write_table(pyarrow.table({"image": [data * 99] * 9}), path, compression=None, row_group_size=1)
    inputs, whole = open_inputs(path), path.read_bytes()
    path.write_bytes(whole[:100] + bytes(len(whole) // 2) + whole[100 + len(whole) // 2 :])
    with pytest.raises(ImageError, match=r"row 1 of .*: cannot be read"):
        inputs.item("1")


@pytest.mark.parametrize("error", [MemoryError(), EnvironmentMissingError("pyarrow is missing")])
def test_what_says_nothing_of_a_row_is_no_error_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(path: Path) -> None:
        raise error

    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"image": ["x.png"]}), path)
    inputs = open_inputs(path)
    monkeypatch.setattr(parquet, "ParquetFile", failing)
    for call in (lambda: inputs.item("0"), lambda: inputs.stamp("0")):
        with pytest.raises(type(error)):
            call()


def test_memory_that_runs_out_is_no_other_kind_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise MemoryError

    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"image": ["x.png"]}), path)
    inputs = open_inputs(path)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(parquet.ParquetFile, "read", full)
        inputs.stamp("0")
    monkeypatch.setattr(parquet, "ParquetFile", full)
    with pytest.raises(MemoryError):
        open_inputs(path)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


@pytest.mark.parametrize("name", ["train.parquet", "instances.json"])
def test_what_stands_in_for_a_file_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(InputError, match=f"{name}: is a Git LFS pointer, not the file it stands for: fetch it with"):
        open_inputs(tmp_path / name)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "a.png").symlink_to("nowhere.png")
    told = r"no image in it \(could not be read: a\.png \(a link to nowhere.*is no image: notes\.txt \(no image\)"
    with pytest.raises(InputError, match=told):
        open_inputs(tmp_path)
    monkeypatch.setattr(inputs_module, "why_no_folder", lambda path: "cannot be read (Permission denied)")
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\); expected a folder of images"):
        open_inputs(tmp_path)


def test_what_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no image in it; expected"):
        open_inputs(tmp_path / "empty")
    with pytest.raises(InputError, match="expected a folder of images, a COCO file"):
        open_inputs(tmp_path / "absent")
    for name, content, message in (
        ("a.json", "[]", "is no COCO file with images"),
        ("b.json", '{"images": [{"file_name": "../x.png"}]}', r"'\.\./x\.png' leads out of its folder"),
        ("c.json", '{"images": []}', "it has no images, or one twice"),
        ("d.csv", "image\n", "expected a folder of images"),
        ("deep.json", "[" * 100_000, "is no COCO file with images"),
        ("f.parquet", "PAR1 and nothing else", "is no parquet file"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=message):
            open_inputs(tmp_path / name)
    parquet.write_table(pyarrow.table({"picture": [b""]}), tmp_path / "e.parquet")
    with pytest.raises(InputError, match="has the columns picture; expected"):
        open_inputs(tmp_path / "e.parquet")
    parquet.write_table(pyarrow.table({"image": pyarrow.array([], pyarrow.binary())}), tmp_path / "g.parquet")
    with pytest.raises(InputError, match="has no rows; expected"):
        open_inputs(tmp_path / "g.parquet")
