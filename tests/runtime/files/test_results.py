"""Names of results never meet; what this program did not write, or somebody changed, is never replaced."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime import console
from hyperseg_runtime.contracts.results import encode_png
from hyperseg_runtime.errors import InputError, OutputError
from hyperseg_runtime.files.results import (
    UNSEALED,
    Kind,
    ResultFolder,
    input_source,
    refuse_own_result,
    result_name,
    result_of,
    sealed,
    source_digest,
)

PNG = encode_png(np.eye(5, dtype=bool))
JSON = console.json_bytes({"text": "čaj", "rows": [1, 2]})
HTML = b"<!doctype html><html><p>results</html>\n"
MP4 = b"\0\0\0\x14ftypisom\0\0\0\0isom" + b"\0\0\0\x0amdat\1\2"
CONTENTS = {"a.png": PNG, "a.json": JSON, "a.html": HTML, "a.mp4": MP4}
ENDINGS = ["", ".1", ".mask", "-1", ".png", ".mask.png", ".mask-1.png", ".result.json", ".overlay-12"]
NAMES = st.builds("{}{}{}".format, st.sampled_from(["a", "a.b", "ß", "a-1"]), *[st.sampled_from(ENDINGS)] * 2)
PLACES = st.tuples(NAMES, st.sampled_from(list(Kind)), st.none() | st.integers(1, 30))
SEALED = [kind for kind in Kind if not kind.endswith(UNSEALED)]


@given(one=PLACES, other=PLACES)
def test_two_results_never_share_a_name(one: tuple[str, Kind, int | None], other: tuple[str, Kind, int | None]) -> None:
    assert (result_name(*one) == result_name(*other)) == (one == other)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_result_is_recognised_by_its_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / "anything"
    path.write_bytes(sealed(CONTENTS[name], "/data/photo.jpg"))
    assert result_of(path) == source_digest("/data/photo.jpg")
    path.write_bytes(CONTENTS[name])
    assert result_of(path) is None


def test_sealed_files_mean_what_they_meant(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(sealed(PNG, "x"))
    with Image.open(tmp_path / "a.png") as image:
        image.verify()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")) > 0, np.eye(5, dtype=bool))
    assert {**json.loads(JSON), "written_by": json.loads(sealed(JSON, "x"))["written_by"]} == json.loads(
        sealed(JSON, "x")
    )
    assert sealed(HTML, "x").startswith(HTML)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(CONTENTS)), data=st.data())
def test_a_changed_result_is_nobodys(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    """Whatever byte is changed, taken away or added."""
    content = bytearray(sealed(CONTENTS[name], "x"))
    at = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["change", "cut", "insert", "append"])):
        case "change":
            content[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del content[at:]
        case "insert":
            content.insert(at, 65)
        case "append":
            content += b" "
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(content)
    assert result_of(path) != source_digest("x")


@settings(max_examples=80, deadline=None)
@given(
    writes=st.lists(st.tuples(NAMES, st.sampled_from(["/a", "/b"]), st.sampled_from(SEALED)), max_size=12),
    data=st.data(),
)
def test_nothing_of_others_is_ever_replaced(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, str, Kind]], data: st.DataObject
) -> None:
    """A folder with files of others, in which results of inputs from two folders are written in any order."""
    folder = tmp_path_factory.mktemp("results")
    foreign = data.draw(
        st.dictionaries(PLACES.map(lambda place: result_name(*place)), st.binary(max_size=9), max_size=4)
    )
    for name, content in foreign.items():
        (folder / name).write_bytes(content)
    results = ResultFolder(folder)
    owners: dict[str, str] = {}
    for number, (name, place, kind) in enumerate(writes):
        target, source = result_name(name, kind), f"{place}/{name}"
        content = console.json_bytes({"number": number})
        free = target not in foreign and owners.get(target, source) == source
        if free:
            results.require_free([target], source)
            results.write(target, content, source)
            owners[target] = source
            assert (folder / target).read_bytes() == sealed(content, source)
        else:
            with pytest.raises(OutputError, match="--overwrite"):
                results.require_free([target], source)
            with pytest.raises(OutputError, match="--overwrite"):
                results.write(target, content, source)
    assert {name: (folder / name).read_bytes() for name in foreign} == foreign
    assert {path.name for path in folder.iterdir()} == {*foreign, *owners}
    assert all(result_of(folder / name) == source_digest(source) for name, source in owners.items())


def test_text_is_written_as_it_is_and_replaced_when_asked_to(tmp_path: Path) -> None:
    """A seal would be a line that readers of such files stumble over."""
    name, lines = result_name("a.jpg", Kind.YOLO), b"0 0.5 0.5 0.6 0.5 0.6 0.6\n"
    ResultFolder(tmp_path).write(name, lines, "/a")
    assert (tmp_path / name).read_bytes() == lines and set(Kind) - set(SEALED) == {Kind.YOLO}
    with pytest.raises(OutputError, match="--overwrite"):
        ResultFolder(tmp_path).write(name, b"", "/a")
    ResultFolder(tmp_path, overwrite=True).write(name, b"", "/a")
    assert (tmp_path / name).read_bytes() == b""


def test_overwriting_is_asked_for_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("mine")
    ResultFolder(tmp_path, overwrite=True).write("a.json", JSON, "/a")
    assert result_of(tmp_path / "a.json") == source_digest("/a")
    ResultFolder(tmp_path, overwrite=True).write("a.json", JSON, "/b")
    assert result_of(tmp_path / "a.json") == source_digest("/b")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError, match=r"a\.json: is a folder"):
        ResultFolder(tmp_path, overwrite).require_free(["a.json"], "/a")


def test_a_link_is_not_a_result(tmp_path: Path) -> None:
    """Nor what it leads to, nor one that leads nowhere."""
    (tmp_path / "real").write_bytes(sealed(JSON, "/a"))
    (tmp_path / "link.json").symlink_to("real")
    (tmp_path / "nowhere.json").symlink_to("absent")
    for name in ("link.json", "nowhere.json"):
        with pytest.raises(OutputError, match="no unchanged result"):
            ResultFolder(tmp_path).require_free([name], "/a")


def test_a_name_that_is_too_long_is_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        ResultFolder(tmp_path).require_free([result_name("x" * 250, Kind.MASK)], "/a")


def test_own_results_are_no_inputs(tmp_path: Path) -> None:
    (tmp_path / "own.png").write_bytes(sealed(PNG, "/a"))
    (tmp_path / "photo.png").write_bytes(PNG)
    with pytest.raises(InputError, match=r"own\.png: is a result that this program wrote"):
        refuse_own_result(tmp_path / "own.png")
    refuse_own_result(tmp_path / "photo.png")
    refuse_own_result(tmp_path / "absent.png")


def test_an_input_is_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert input_source("a.jpg") == input_source(Path("./a.jpg")) == input_source(tmp_path / "a.jpg")
    assert input_source("b/a.jpg") != input_source("a.jpg")
    assert len(source_digest(os.fsdecode(b"/\xff.jpg"))) == 16
