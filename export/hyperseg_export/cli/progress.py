"""Progress of an export or a build as lines and a spinner on stderr."""

import time
from types import TracebackType
from typing import Self

from rich.status import Status

from hyperseg_runtime.console import err


class ExportProgress:
    """One line per finished stage with its time; a spinner for the running one when somebody watches."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._stage = ""
        self._started = 0.0

    def stage(self, name: str, index: int, count: int) -> None:
        self._finish()
        self._stage, self._started = f"[{index}/{count}] {name}", time.perf_counter()
        if err.is_terminal:
            self._status = err.status(self._stage)
            self._status.start()

    def note(self, text: str) -> None:
        err.print(f"  {text}", markup=False)

    def phase(self, name: str, step: int, steps: int) -> None:
        if self._status is not None:
            self._status.update(f"{self._stage}: {name} {step}/{steps}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(failed=kind is not None)

    def _finish(self, failed: bool = False) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._stage:
            seconds = time.perf_counter() - self._started
            err.print(f"{self._stage:30} {'failed' if failed else f'{seconds:.1f} s'}", markup=False)
            self._stage = ""
