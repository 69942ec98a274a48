"""Writing files so that a crash, a full disk or a reader at the wrong moment never sees half of one."""

import ctypes
import errno
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom, BufferedWriter
from pathlib import Path

from hyperseg_runtime.errors import OutputError, ResourceError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


LOST = (*NO_ROOM, errno.EIO)
"""What a file system says when data did not get to the disk; anything else means that it makes no such promise."""


def fsync_file(file: BufferedWriter | BufferedRandom) -> None:
    """Flush a file down to the disk."""
    file.flush()
    _fsync(file.fileno())


def fsync_directory(directory: Path) -> None:
    """Make renames inside `directory` survive a power cut, where the file system can promise that.

    Network and FUSE file systems, and Windows, may refuse to open or flush a folder; its files are safe all the same.
    """
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        _fsync(handle)
    finally:
        os.close(handle)


def _fsync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in LOST:
            raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all: temporary file beside it, fsync, rename."""
    with explained(path):
        temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                fsync_file(file)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make `folder` and see that it can be written to, before the work; on failure leave no new folder."""
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]  # noqa: PTH110
    try:
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):  # something was written meanwhile
                path.rmdir()
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise ResourceError(f"{path}: no room left on the disk ({error.strerror})") from error
        advice = "choose another place" if error.errno != errno.ENAMETOOLONG else "give the input a shorter name"
        raise OutputError(f"{path}: cannot be written ({error.strerror}); {advice}") from error


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder to `target`, where an old one may be.

    The two are exchanged in one step where the system can do that, so that `target` is complete at every
    instant. Elsewhere it is absent between two renames, and the old one comes back if the second fails.
    """
    if target.is_symlink() or not target.is_dir():
        target.unlink(missing_ok=True)  # a file or a link in the way
        source.rename(target)
        return
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if _exchange(source, target):
        source.rename(old)
    else:
        target.rename(old)
        try:
            source.rename(target)
        except BaseException:
            old.rename(target)
            raise
    shutil.rmtree(old)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap names (Linux's renameat2); False where system or file system cannot."""
    if sys.platform != "linux":
        return False
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    if call is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)
