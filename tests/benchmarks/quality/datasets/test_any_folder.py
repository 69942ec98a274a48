"""Folders of data sets that hold anything: every reader gives its samples or one error of ours, and nothing else."""

import json
import pickle
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import miniatures
from fuzzing import fuzzed
from hyperseg_bench.quality.datasets.masks import annotation_mask, read_map
from hyperseg_bench.quality.datasets.registry import Choice, open_data_set
from hyperseg_runtime.errors import InputError
from miniatures import SIDE

READERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "refcoco": (miniatures.refcoco, ("refcoco/refs(unc).p", "refcoco/instances.json")),
    "grefcoco": (miniatures.grefcoco, ("grefcoco/grefs(unc).json", "grefcoco/instances.json")),
    "reasonseg": (miniatures.reasonseg, ("val/111_0.json",)),
    "coco-panoptic": (miniatures.coco, ("annotations/panoptic_val2017.json",)),
    "coco-instances": (miniatures.coco, ("annotations/instances_val2017.json",)),
    "ref-davis": (miniatures.ref_davis, ("meta_expressions/valid/meta_expressions.json",)),
    "revos": (miniatures.revos, ("meta_expressions_valid_.json", "mask_dict.json")),
}
"""Readers of JSON and pickles; refcoco+, refcocog and ref-youtube-vos read as others do, ADE20K a table."""
HOSTILE: tuple[Any, ...] = (
    None, True, 0, -1, 1 << 70, 1e400, float("nan"), 0.5, "", "a", "../../etc/passwd", "/etc/passwd", "a\0b",
    "\x1b[31mred", "\udcff", "0" * 5000, [], {}, [[]], [None], [[0, 0, 1, 1]], [[0, 0, 1e9, 0, 1e9, 1e9]], [[1, 2, 3]],
    {"size": [SIDE, SIDE], "counts": "oooooo"}, {"size": [1 << 30, 1 << 30], "counts": [1 << 60]},
    {"size": [SIDE, SIDE], "counts": [-1, SIDE * SIDE + 1]}, {"size": [SIDE, SIDE], "counts": "PPP\\u00ff"},
)  # fmt: skip


def read_all(name: str, folder: Path) -> None:
    data = open_data_set(Choice(name, str(folder)))
    for key in data.keys:
        data.sample(key)


def places(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything inside a value."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [at, *(place for key, value in inside for place in places(value, (*at, key)))]


def changed(content: Any, place: tuple[Any, ...], how: str, value: Any) -> Any:
    """With `value` in the place of something, without it, or with it twice."""
    if not place:
        return value
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    if how == "replace":
        parent[place[-1]] = value
    elif how == "twice" and isinstance(parent, list):
        parent.append(parent[place[-1]])
    else:
        parent.pop(place[-1])
    return content


@pytest.mark.parametrize("name", READERS)
@fuzzed(13, examples=60)
@given(chance=st.randoms(use_true_random=False), how=st.sampled_from(["replace", "twice", "leave out"]))
def test_any_annotations(name: str, tmp_path: Path, chance: random.Random, how: str) -> None:
    make, files = READERS[name]
    folder = tmp_path / "data"
    shutil.rmtree(folder, ignore_errors=True)
    make(folder)
    path = folder / chance.choice(files)
    content = pickle.loads(path.read_bytes()) if path.suffix == ".p" else json.loads(path.read_text("utf-8"))
    content = changed(content, chance.choice(places(content)), how, chance.choice(HOSTILE))
    path.write_bytes(pickle.dumps(content) if path.suffix == ".p" else json.dumps(content).encode())
    try:
        read_all(name, folder)
    except InputError as error:
        assert len(str(error)) < 2000 and str(error).isprintable(), error


@pytest.mark.parametrize(
    ("at", "value"),
    [(("annotations", 0, "id"), "0" * 5000), (("annotations", 0, "id"), "a\0b"), (("images", 0, "id"), "\x1b[31mred")],
)
def test_what_a_file_says_does_not_spoil_the_message(tmp_path: Path, at: tuple[Any, ...], value: str) -> None:
    miniatures.coco(tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), at, "replace", value)))
    with pytest.raises(InputError) as raised:
        read_all("coco-instances", tmp_path / "data")
    assert len(str(raised.value)) < 2000 and str(raised.value).isprintable()


@pytest.mark.parametrize("name", READERS)
@fuzzed(14, examples=25)
@given(noise=st.binary(max_size=60), at=st.integers(0, 4000))
def test_any_bytes_in_annotations(name: str, tmp_path: Path, noise: bytes, at: int) -> None:
    make, files = READERS[name]
    folder = tmp_path / "data"
    shutil.rmtree(folder, ignore_errors=True)
    make(folder)
    for file in files:
        data = (folder / file).read_bytes()
        start = at % (len(data) + 1)
        (folder / file).write_bytes(data[:start] + noise + data[start + len(noise) :])
    with suppress(InputError):
        read_all(name, folder)


def png(width: int, height: int) -> bytes:
    """A header that promises so many pixels."""
    chunks = b""
    for kind, data in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b""))):
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunks


MAPS = (
    ("ade20k", miniatures.ade20k, "annotations/validation/ADE_val_00000001.png"),
    ("coco-panoptic", miniatures.coco, "annotations/panoptic_val2017/000000000042.png"),
    ("ref-davis", miniatures.ref_davis, "valid/Annotations/goat/00000.png"),
)


@pytest.mark.parametrize(("name", "make", "file"), MAPS)
def test_maps_that_are_none(name: str, make: Callable[[Path], None], file: str, tmp_path: Path) -> None:
    make(tmp_path)
    bombs = (png(100_000, 100_000), png(SIDE, SIDE), b"", b"text")
    for content, words in zip(
        bombs, ("pixels", "PNG of numbers|mode L", "PNG of numbers", "PNG of numbers"), strict=True
    ):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_all(name, tmp_path)
    Image.new("RGBA", (SIDE, SIDE)).save(tmp_path / file)
    with pytest.raises(InputError, match="mode RGBA"):
        read_all(name, tmp_path)


def test_names_that_lead_out(tmp_path: Path) -> None:
    """Links are followed: data sets lie on other disks. What an annotation names does not lead out."""
    (tmp_path / "outside").mkdir()
    miniatures.picture(tmp_path / "outside" / "secret.jpg")
    folder = tmp_path / "data"
    miniatures.coco(folder)
    path = folder / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    for name in ("../../outside/secret.jpg", str(tmp_path / "outside" / "secret.jpg"), "", "a\nb.jpg"):
        content["images"][0]["file_name"] = name
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="no name of a file in it"):
            read_all("coco-instances", folder)
    pictures = folder / "val2017"
    pictures.rename(tmp_path / "elsewhere")
    pictures.symlink_to(tmp_path / "elsewhere")
    miniatures.picture(pictures / "000000000042.jpg")
    content["images"][0]["file_name"] = "000000000042.jpg"
    path.write_text(json.dumps(content))
    read_all("coco-instances", folder)


@pytest.mark.parametrize("name", ["coco-instances", "coco-panoptic", "refcoco"])
def test_numbers_that_stand_there_twice(name: str, tmp_path: Path) -> None:
    make, files = READERS[name]
    make(tmp_path)
    path = tmp_path / files[-1]
    content = json.loads(path.read_text())
    content["images"].append({**content["images"][0], "file_name": "other.jpg"})
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="stands there twice"):
        read_all(name, tmp_path)


def test_a_name_that_stands_twice_in_json(tmp_path: Path) -> None:
    miniatures.revos(tmp_path)
    (tmp_path / "mask_dict.json").write_text('{"0": [], "1": [], "0": null}')
    with pytest.raises(InputError, match="'0' stands there twice"):
        read_all("revos", tmp_path)
    (tmp_path / "mask_dict.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is no JSON"):
        read_all("revos", tmp_path)


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([[0, 0, 1, 1]], "three corners"),
        ([[0, 0, 1e9, 0, 0, 1e9]], "far outside"),
        ([[0, 0, float("nan"), 0, 0, 1]], "no number"),
        ({"size": [SIDE, SIDE], "counts": [1 << 60]}, "do not add up"),
        ({"size": [SIDE, SIDE], "counts": [-1, SIDE * SIDE + 1]}, "do not add up"),
        ({"size": [9, 9], "counts": [81]}, "of size"),
        ({"size": [SIDE, SIDE], "counts": "ooooo"}, "as COCO writes them"),  # read beyond its end by pycocotools
        ({"size": [SIDE, SIDE], "counts": "o" * 20 + "0"}, "more digits"),
        ({"size": [SIDE, SIDE], "counts": "\n"}, "as COCO writes them"),
        ("text", "of size"),
    ],
)
def test_masks_that_are_none(segmentation: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        annotation_mask({"segmentation": segmentation}, SIDE, SIDE)


def test_a_picture_of_no_size() -> None:
    for height, width in ((0, 5), (-1, 5), (1 << 20, 1 << 20)):
        with pytest.raises(InputError, match="expected 1 to"):
            annotation_mask({"segmentation": [[0, 0, 1, 0, 0, 1]]}, height, width)


def test_a_map_is_read_as_it_is(tmp_path: Path) -> None:
    numbers = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    Image.fromarray(numbers).save(tmp_path / "map.png")
    np.testing.assert_array_equal(read_map(tmp_path / "map.png", ("L",)), numbers)
