"""SHA-256 of files, and what is remembered of it so that 13 GB are not read before every start.

A file is known again by size, times of change, inode and device. That trusts the file system's stamps, and everyone
who may write into the user's cache folder: a change that leaves no trace in any of them is not noticed. No program sets
the time at which an inode was changed (ctime), but whoever is root can turn the clock. `hash_file` trusts nothing.
Records lie in the user's cache folder, one for each file, never beside a bundle: who hands on a bundle cannot hand on
the belief in it.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hyperseg_kernels.user_cache import user_cache
from hyperseg_runtime.errors import HypersegError
from hyperseg_runtime.files.writing import write_atomically

HashFile = Callable[[Path, Callable[[int], None]], str]
"""Gives the hash of a file in hexadecimal digits, and tells how many bytes are done."""

REMEMBER_FROM_BYTES = 1 << 24
"""Smaller files are hashed about as fast as a record is read."""
SETTLED_NS = 2_000_000_000
"""A file that was changed less than this ago may be changed again without another time: FAT counts in steps of 2 s."""


def hash_file(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**22):
            digest.update(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def remembered_hash(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
    """The same, or what it was the last time if the file has not been touched since (see above)."""
    started_ns, before = time.time_ns(), path.stat()
    place = _record_of(path)
    if before.st_size < REMEMBER_FROM_BYTES or place is None:
        return hash_file(path, on_bytes)
    stamp = _stamp(before)
    if known := _read(place, stamp):
        on_bytes(before.st_size)
        return known
    sha256 = hash_file(path, on_bytes)
    settled = started_ns - max(before.st_mtime_ns, before.st_ctime_ns) > SETTLED_NS
    if settled and _stamp(path.stat()) == stamp:
        _write(place, {"path": os.path.realpath(path), "stamp": stamp, "sha256": sha256})
    return sha256


def _stamp(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _record_of(path: Path) -> Path | None:
    cache = user_cache()
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
    return None if cache is None else cache / "hashes" / f"{name[:32]}.json"


def _read(place: Path, stamp: list[int]) -> str | None:
    """The hash in a record; None where there is none, of another content, or that another user has written."""
    try:
        if hasattr(os, "getuid") and place.stat().st_uid not in (os.getuid(), 0):
            return None
        content = json.loads(place.read_bytes())
        return str(content["sha256"]) if content["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(place: Path, content: dict[str, object]) -> None:
    """A cache that cannot be written to costs time and nothing else."""
    with suppress(OSError, HypersegError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(place, json.dumps(content).encode("utf-8", "backslashreplace"))
