"""Types and helpers that tests and fixtures share."""

import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CliResult:
    code: int
    out: str
    err: str


RunCli = Callable[..., CliResult]
"""The `run_cli` fixture: takes command line arguments."""


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """`folder`, made by the first worker that asks; the others wait."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(folder)
    return folder
