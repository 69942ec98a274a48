"""Results: they never replace what this program did not write, and two inputs never share a name."""

import shutil
from pathlib import Path

import pytest

from support import RunCli


def test_labelme(case: Path, run_cli: RunCli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign annotation beside the image stays."""
    folder = case / "labelme"
    before = (folder / "photo.json").read_bytes()
    monkeypatch.chdir(folder)
    for _ in range(2):  # our own results may be replaced
        assert run_cli("run", tiny_bundle, "photo.jpg", "cup", "--report").code == 0
    assert (folder / "photo.json").read_bytes() == before
    kinds = ("mask.png", "overlay.png", "result.json", "report.html")
    assert {path.name for path in folder.iterdir()} == {"photo.jpg", "photo.json", *(f"photo.jpg.{k}" for k in kinds)}


@pytest.mark.parametrize("name", ["photo.jpg.mask.png", "photo.jpg.result.json", "photo.jpg.overlay.png"])
def test_a_foreign_file_at_a_result_s_name(case: Path, run_cli: RunCli, tiny_bundle: Path, name: str) -> None:
    """Refused before the work, all of it; --overwrite says otherwise."""
    out, photo = case / "out", case / "labelme" / "photo.jpg"
    out.mkdir()
    (out / name).write_text("mine")
    result = run_cli("run", tiny_bundle, photo, "cup", "--out", out)
    assert result.code == 2 and name in result.err and "--overwrite" in result.err
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text() == "mine"
    assert run_cli("run", tiny_bundle, photo, "cup", "--out", out, "--overwrite").code == 0
    assert (out / name).read_bytes() != b"mine"


def test_a_result_that_somebody_edited(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    photo, edited = case / "labelme" / "photo.jpg", case / "photo.jpg.result.json"
    assert run_cli("run", tiny_bundle, photo, "cup", "--out", case).code == 0
    edited.write_text(edited.read_text().replace('"cup"', '"mug"'))
    result = run_cli("run", tiny_bundle, photo, "cup", "--out", case)
    assert result.code == 2 and '"mug"' in edited.read_text()


def test_two_images_of_one_stem(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    """a.jpg and a.png beside each other; two photo.jpg of different folders."""
    out = case / "out"
    shutil.copy(case / "labelme" / "photo.jpg", case / "a.jpg")
    shutil.copy(case / "images" / "bad_exif.png", case / "a.png")
    for image in ("a.jpg", "a.png"):
        assert run_cli("run", tiny_bundle, case / image, "cup", "--out", out).code == 0
    assert len(list(out.iterdir())) == 6
    (case / "other").mkdir()
    shutil.copy(case / "a.png", case / "other" / "a.jpg")
    before = (out / "a.jpg.mask.png").read_bytes()
    result = run_cli("run", tiny_bundle, case / "other" / "a.jpg", "cup", "--out", out)
    assert result.code == 2 and "is the result of another input of this name" in result.err
    assert (out / "a.jpg.mask.png").read_bytes() == before


def test_two_videos_in_one_folder(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    assert run_cli("video", tiny_bundle, case / "frames_mac", "cup", "--out", case / "out").code == 0
    before = (case / "out" / "video.json").read_bytes()
    shutil.copytree(case / "frames_mac", case / "others")
    result = run_cli("video", tiny_bundle, case / "others", "cup", "--out", case / "out")
    assert result.code == 2 and "another input" in result.err
    assert (case / "out" / "video.json").read_bytes() == before


@pytest.mark.parametrize("verb", ["run", "video", "chat"])
def test_a_text_that_is_a_file(case: Path, run_cli: RunCli, tiny_bundle: Path, verb: str) -> None:
    """`run BUNDLE a.jpg b.jpg "the cup"`"""
    texts = ("the cup",) if verb != "chat" else ()
    source = case / "frames_mac" if verb == "video" else case / "labelme" / "photo.jpg"
    other = case / "frames_mac" / "1.jpg"
    result = run_cli(verb, tiny_bundle, source, other, *texts)
    assert result.code == 2 and f"{other} is a file, expected a text" in result.err


def test_a_text_that_is_a_folder(
    case: Path, run_cli: RunCli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second folder of frames is not segmented as an expression; a class may be called like a folder here."""
    frames, out = case / "frames_mac", ("--out", case / "out")
    result = run_cli("video", tiny_bundle, frames, case / "frames_mixed", "cup", *out)
    assert result.code == 2 and f"{case / 'frames_mixed'} is a folder, expected a text" in result.err
    (case / "cup").mkdir()
    monkeypatch.chdir(case)
    result = run_cli("run", tiny_bundle, frames / "1.jpg", "cup", *out)
    assert result.code == 0 and "there is a folder cup; it is taken as a text" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("video", "BUNDLE", "", "cup"),  # would be the frames of the current folder
        ("run", "BUNDLE", "1.jpg", "cup", "--out", ""),
        ("run", "BUNDLE", "1.jpg", "cup", "--out="),
        ("run", "BUNDLE", "1.jpg", ""),
        ("export", "", "bundle"),
        ("serve", "init", "BUNDLE", "--out", ""),
        ("batch", "BUNDLE", "", "cup"),
        ("inspect", ""),
    ],
)
def test_an_empty_argument(
    case: Path, run_cli: RunCli, tiny_bundle: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of the shell without a value is no folder."""
    monkeypatch.chdir(case / "frames_mac")
    before = sorted(Path().iterdir())
    result = run_cli(*(tiny_bundle if word == "BUNDLE" else word for word in arguments))
    assert result.code == 2 and "an empty argument after" in result.err
    assert sorted(Path().iterdir()) == before


def test_a_text_that_looks_like_a_file(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    """A mistyped second image is not segmented without a word; a link that leads nowhere was meant as a file."""
    photo = case / "labelme" / "photo.jpg"
    result = run_cli("run", tiny_bundle, photo, "absent.jpg", "--out", case / "out")
    assert result.code == 0 and "there is no file absent.jpg; it is taken as a text" in result.err
    (case / "nowhere").symlink_to("absent")
    result = run_cli("run", tiny_bundle, photo, case / "nowhere", "--out", case / "out")
    assert result.code == 2 and "is a file, expected a text" in result.err


@pytest.mark.parametrize("verb", ["run", "video"])
def test_an_address_is_not_fetched(run_cli: RunCli, tiny_bundle: Path, verb: str) -> None:
    result = run_cli(verb, tiny_bundle, "https://example.com/photo.jpg", "cup")
    assert result.code == 2 and "an address, not a file: fetch it first" in result.err


def test_a_text_of_any_length_is_no_file(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    result = run_cli("run", tiny_bundle, case / "labelme" / "photo.jpg", "cup " * 2000, "--out", case / "out")
    assert result.code == 2 and "is a file" not in result.err and "unexpected" not in result.err
