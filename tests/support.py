"""Types that tests and fixtures share."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class CliResult:
    code: int
    out: str
    err: str


RunCli = Callable[..., CliResult]
"""The `run_cli` fixture: takes command line arguments."""
