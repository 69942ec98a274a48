"""Why a file cannot be read: the real cause, in words that help.

"No such file" is one cause of many: a link may lead nowhere, the reader may lack the right, the name may be a folder's,
and a file may be there that only stands in for the one that was meant.
"""

import os
import re
import stat
from pathlib import Path

HEAD_BYTES = 64
"""What `stand_in` needs to see of a file."""

STAND_INS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file it stands for: fetch it with `git lfs pull`",
    b"<!doctype html": "a web page, not the file: the download was answered by a page; download it in a browser",
    b"<html": "a web page, not the file: the download was answered by a page; download it in a browser",
    b"\0\x05\x16\x07": "what macOS wrote beside the file (AppleDouble): take the one without ._ before its name",
}


MISSING = "no such file"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""Of something on the network, also where a Path took one of its two strokes away."""


def why_unreadable(path: str | Path) -> str | None:
    """Why `path` is no file whose bytes can be read, or None where it is one. Never raises."""
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116  (Path.stat raises ValueError for names with a null character)
        if stat.S_ISDIR(kind):
            return "a folder, not a file"
        if not stat.S_ISREG(kind):
            return "no regular file"
        with open(path, "rb"):  # noqa: PTH123
            return None
    except (OSError, ValueError) as error:
        return _why(path, error)


def why_no_folder(path: str | Path) -> str | None:
    """Why `path` is no folder that can be listed, or None where it is one. Never raises."""
    try:
        with os.scandir(path):
            return None
    except NotADirectoryError:
        return "a file, not a folder" if os.path.exists(path) else MISSING  # noqa: PTH110
    except (OSError, ValueError) as error:
        return _why(path, error)


def _why(path: str | Path, error: OSError | ValueError) -> str:
    if isinstance(error, PermissionError):
        return f"cannot be read ({error.strerror}): see its owner and its mode with `ls -l`"
    if isinstance(error, FileNotFoundError) and os.path.islink(path):  # noqa: PTH114
        return f"a link to {os.readlink(path)}, which does not exist"  # noqa: PTH115
    if isinstance(error, OSError) and os.path.lexists(path):
        return f"cannot be read ({error.strerror})"
    return "an address, not a file: fetch it first" if ADDRESS.match(os.fspath(path)) else MISSING


def stand_in(head: bytes) -> str | None:
    """What a file is that starts with `head` and is there in place of the one that was meant; None for any other."""
    start = head.lstrip().lower() if head[:1] != b"\0" else head
    return next((what for beginning, what in STAND_INS.items() if start.startswith(beginning)), None)


def stand_in_of(path: Path) -> str | None:
    """`stand_in` of a file that can be read."""
    with path.open("rb") as file:
        return stand_in(file.read(HEAD_BYTES))
