"""Class lists that ship, that lie in files, that are typed; and what is refused."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.class_lists.reading import SHIPPED, read_class_list
from hyperseg_runtime.errors import InputError

GOLDEN = Path(__file__).parents[2] / "golden" / "psalm"


def test_cocos_classes_are_those_of_the_data_set() -> None:
    listed = read_class_list("coco")
    assert listed.things is not None and len(listed.names) == 133 and sum(listed.things) == 80
    assert (listed.names[0], listed.ids[0], listed.names[-1], listed.ids[-1]) == ("person", 1, "rug-merged", 200)
    with np.load(GOLDEN / "panoptic_coco.npz") as golden:
        assert list(listed.things) == golden["in_is_thing"].tolist()


def test_ade20ks_classes_have_synonyms() -> None:
    listed = read_class_list("ade20k")
    assert listed.things is not None and (len(listed.names), sum(listed.things)) == (150, 100)
    assert listed.ids == tuple(range(150))
    assert dict(zip(listed.names, listed.synonyms, strict=True))["rock"] == ("stone",)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_list_can_be_asked(name: str) -> None:
    request = read_class_list(name).request("panoptic")
    assert request.task == "panoptic" and len(request.names) in (133, 150)


def test_typed_names() -> None:
    listed = read_class_list(" cat, dog;puppy ,sky")
    assert listed.names == ("cat", "dog", "sky") and listed.ids == (1, 2, 3) and listed.things is None
    assert listed.synonyms == ((), ("puppy",), ())
    assert read_class_list("a cat").synonyms == ()


def test_a_text_file_has_a_class_a_line(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("\ufefftraffic light, red\n\n dog ; puppy\n", encoding="utf-8")
    assert read_class_list(str(path)).names == ("traffic light, red", "dog")
    assert read_class_list(str(path)).synonyms == ((), ("puppy",))


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"categories": rows}])
def test_a_json_file_has_cocos_categories(tmp_path: Path, wrap: Callable[[object], object]) -> None:
    rows: list[Mapping[str, object]] = [
        {"id": 7, "name": "cat", "isthing": 1, "supercategory": "animal"},
        {"id": 9, "name": "sky", "isthing": 0, "synonyms": ["clouds"]},
    ]
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(wrap(rows)))
    listed = read_class_list(str(path))
    assert (listed.names, listed.ids, listed.things) == (("cat", "sky"), (7, 9), (True, False))
    assert listed.request().synonyms == ((), ("clouds",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting property name"),
        ("[" * 100_000, "maximum recursion depth"),
        ('{"names": ["cat"]}', "holds no list of categories with names"),
        ('[{"id": 1}]', "holds no list of categories with names"),
        ('[{"name": "cat", "isthing": 1}, {"name": "sky"}]', "1 of 2 classes say whether they are things"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_class_list(str(path))


def test_files_that_are_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no class list absent\.txt; a class list is coco, ade20k"):
        read_class_list("absent.txt")
    with pytest.raises(InputError, match="a class list is coco"):
        read_class_list(str(tmp_path))
    (tmp_path / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(InputError, match="can't decode byte"):
        read_class_list(str(tmp_path / "photo.txt"))
    (tmp_path / "large.txt").write_bytes(b"a\n" * (1 << 20))
    with pytest.raises(InputError, match="more than 1048576 bytes"):
        read_class_list(str(tmp_path / "large.txt"))


@pytest.mark.parametrize(
    "asked",
    "lists/missing.csv missing.csv data.yaml data.YML lists/missing ./missing coco.names cat,dog.json".split(),
)
def test_what_is_called_like_a_file_is_no_class(asked: str) -> None:
    with pytest.raises(InputError, match=r"there is no class list .*; a class list is coco, ade20k"):
        read_class_list(asked)


def test_a_stroke_may_stand_in_a_name_of_several() -> None:
    assert read_class_list("cat,door/gate").names == ("cat", "door/gate")
    assert read_class_list("tv/monitor;television").synonyms == (("television",),)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", "names:\n  0: person\n  1: bicycle\n"),
        ("classes.csv", "id,name\n1,person\n"),
        ("classes.tsv", "1\tperson\n"),
        ("labels.xml", "<labels/>\n"),
    ],
)
def test_forms_that_are_not_read_are_refused_by_name(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    ending = Path(name).suffix
    with pytest.raises(InputError, match=rf"{name}: files ending in \{ending} are not read; write its names into"):
        read_class_list(str(tmp_path / name))


@pytest.mark.parametrize("name", ["classes", "coco.names", "CLASSES.TXT"])
def test_a_class_a_line_under_other_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("person\nbicycle\n")
    assert read_class_list(str(tmp_path / name)).names == ("person", "bicycle")


def test_what_stands_in_for_a_list_is_none(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(InputError, match=r"classes\.txt: is a Git LFS pointer"):
        read_class_list(str(tmp_path / "classes.txt"))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "an empty name: class 1 of 1"),
        ("cat,,dog", "an empty name: class 2 of 3"),
        ("cat,dog,cat", "cat more than once"),
        ("cat;dog,dog", "dog more than once"),
        ("cat;", "an empty name: a synonym"),
    ],
)
def test_names_that_are_empty_or_stand_twice(typed: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_class_list(typed).request()
