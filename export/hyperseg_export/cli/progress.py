"""Progress of an export or a build on stderr: a spinner where somebody watches, else a line now and then."""

import time
from types import TracebackType
from typing import Self

from rich.status import Status

from hyperseg_runtime.console import Seldom, err, gigabytes


class ExportProgress:
    """One line per finished stage with its time; of the running one how far it is."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._stage = ""
        self._started = 0.0
        self._seldom = Seldom()

    def stage(self, name: str, index: int, count: int) -> None:
        self._finish()
        self._seldom = Seldom()
        self._stage, self._started = f"[{index}/{count}] {name}", time.perf_counter()
        if err.is_terminal:
            self._status = err.status(self._stage)
            self._status.start()

    def note(self, text: str) -> None:
        err.print(f"  {text}", markup=False)

    def phase(self, name: str, step: int, steps: int) -> None:
        self._tell(f"{name} {step}/{steps}")

    def moved(self, name: str, done: int, total: int) -> None:
        self._tell(f"{name} {gigabytes(done, total)}")

    def _tell(self, text: str) -> None:
        if self._status is not None:
            self._status.update(f"{self._stage}: {text}")
        else:
            self._seldom.tell(f"{self._stage}: {text}")

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
