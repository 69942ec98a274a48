"""Which files of a folder are images, and why the others are none."""

from pathlib import Path

import pytest
from PIL import Image

from hyperseg_runtime.batch import image_files as files
from hyperseg_runtime.batch.image_files import image_files
from hyperseg_runtime.contracts.results import encode_png
from hyperseg_runtime.files.results import ResultFolder
from hyperseg_runtime.images.reading import load_image

APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X"


def picture(path: Path, form: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (9, 0, 0)).save(path, form)


def test_what_a_file_holds_says_what_it_is(tmp_path: Path) -> None:
    Image.new("1", (8, 6)).save(tmp_path / "c.pbm")
    picture(tmp_path / "b.dib", "DIB")
    picture(tmp_path / "a", "PNG")
    picture(tmp_path / "sub" / "e.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    keys, left_out = image_files(tmp_path)
    assert keys == ("a", "b.dib", "broken.jpg", "c.pbm", "sub/e.png") and not left_out


def test_hidden_files_and_folders_are_left_out_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "._a.jpg").write_bytes(APPLE_DOUBLE)
    picture(tmp_path / ".thumbs" / "t.png")
    picture(tmp_path / "sub" / ".b.png")
    (tmp_path / "sub" / "labels.txt").write_text("0 0.5 0.5")
    keys, left_out = image_files(tmp_path)
    assert keys == ("a.jpg",)
    assert left_out == (
        ("._a.jpg", "hidden", False),
        (".thumbs", "hidden", False),
        ("sub/.b.png", "hidden", False),
        ("sub/labels.txt", "no image", False),
    )


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "images"
    picture(tmp_path / "elsewhere" / "a.png")
    picture(folder / "own" / "b.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "own" / "around").symlink_to(folder)
    (folder / "own" / "up").symlink_to(tmp_path / "data")
    (folder / "twice").symlink_to(folder / "own")
    keys, left_out = image_files(folder)
    assert keys == ("linked/a.png", "own/b.png")
    reasons = {row.name: row.reason for row in left_out}
    assert reasons == {
        "own/around": f"the folder {folder.resolve()}, which is not entered again",
        "own/up": f"the folder {folder.parent.resolve()}, which is not entered again",
        "twice": "the folder own, which is not entered again",
    }
    assert not any(row.lost for row in left_out)


def test_a_folder_that_cannot_be_listed_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "locked" / "b.png")
    (tmp_path / "c.png").symlink_to("nowhere.png")
    monkeypatch.setattr(files, "why_no_folder", lambda path: "cannot be read" if path.name == "locked" else None)
    keys, left_out = image_files(tmp_path)
    assert keys == ("a.png",)
    assert left_out == (
        ("c.png", "a link to nowhere.png, which does not exist", True),
        ("locked", "cannot be read", True),
    )


def test_own_results_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for kind in ("mask", "overlay"):
        ResultFolder(tmp_path).write(f"a.png.{kind}.png", encode_png(load_image(tmp_path / "a.png")), "a.png")
    keys, left_out = image_files(tmp_path)
    assert keys == ("a.png",) and left_out == (("2 files", "results of this program", False),)
