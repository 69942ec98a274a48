"""One writer at a time, among processes of a machine."""

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperseg_runtime.errors import Notice, OutputError
from hyperseg_runtime.files.writing import explained

TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What flock says when another process has the lock; anything else means that there are no locks."""


def lock(handle: int, target: Path) -> None:
    """Take the lock of an open file or folder, until it is closed. `target` is what is written.

    Raises OutputError where another process has it. Where there are no locks (some network file systems; Windows) it
    says so and goes on.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        warnings.warn(Notice(f"{target}: no locks on this system; let no other process write it"), stacklevel=2)
    except OSError as error:
        if error.errno in TAKEN:
            raise OutputError(f"{target}: another process is writing it; wait for it to finish") from error
        warnings.warn(
            Notice(f"{target}: its file system has no locks ({error.strerror}); let no other process write it"),
            stacklevel=2,
        )


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Nobody else writes into `folder` meanwhile. Nothing is left there. Raises OutputError, see `lock`."""
    if os.name == "nt":  # where folders cannot be opened
        yield
        return
    with explained(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, folder)
        yield
    finally:
        os.close(handle)
