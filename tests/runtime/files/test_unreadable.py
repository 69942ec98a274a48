"""The real cause why a file cannot be read."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperseg_runtime.files.unreadable import MISSING, stand_in, stand_in_of, why_no_folder, why_unreadable


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "folder").mkdir()
    for name, target in (("link", "file"), ("dangling", "absent"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file", None),
        ("link", None),
        ("folder", "a folder, not a file"),
        ("pipe", "no regular file"),
        ("dangling", "a link to absent, which does not exist"),
        ("loop", "cannot be read (Too many levels of symbolic links)"),
        ("absent", MISSING),
        ("file/inside", MISSING),
        ("a\0b", MISSING),
        ("x" * 300, MISSING),
    ],
)
def test_files(place: Path, name: str, why: str | None) -> None:
    assert why_unreadable(f"{place}/{name}") == why


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("folder", None),
        ("file", "a file, not a folder"),
        ("dangling", "a link to absent, which does not exist"),
        ("absent", MISSING),
        ("file/inside", MISSING),
        ("a\0b", MISSING),
        ("x" * 300, MISSING),
    ],
)
def test_folders(place: Path, name: str, why: str | None) -> None:
    assert why_no_folder(f"{place}/{name}") == why


def test_what_must_not_be_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("os.scandir", refuse)
    why = "cannot be read (Permission denied): see its owner and its mode with `ls -l`"
    assert why_unreadable(place / "file") == why_no_folder(place / "folder") == why


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"\n <!DOCTYPE HTML><html>", "a web page"),
        (b"<html>", "a web page"),
        (b"\0\x05\x16\x07\0\x02", "AppleDouble"),
    ],
)
def test_stand_ins(tmp_path: Path, head: bytes, what: str) -> None:
    (tmp_path / "file").write_bytes(head)
    assert what in (stand_in_of(tmp_path / "file") or "")


@given(head=st.binary(max_size=64))
def test_other_files_stand_for_themselves(head: bytes) -> None:
    assert stand_in(head) is None or head.strip().lower().startswith((b"version", b"<", b"\0\x05"))
