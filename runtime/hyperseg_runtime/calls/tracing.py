"""A timeline of what this process does, to see where it waits: a Chrome trace, and NVTX ranges of the same names.

with traced(Path("trace.json")):
    ...  # stages (`timing.span`) and what backends ask of a device (`event`) of all threads

It shows the host: a stage whose work is put into a stream ends before the work does, and what the host then waits for
is an event of its own. For the device's side run it under `nsys profile`: NVTX ranges stand beside the kernels.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.results import ResultFolder
from hyperseg_runtime.files.writing import output_folder

SOURCE = "trace"
"""All traces are results of the same input: one replaces another."""

_trace: "Trace | None" = None


class Trace:
    """Events in the Trace Event Format that chrome://tracing and ui.perfetto.dev read: complete events ("ph": "X"),
    times in microseconds (Google, "Trace Event Format", section "Complete Events").
    """

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._start = time.perf_counter()
        self._nvtx = _nvtx()

    @contextmanager
    def event(self, name: str, kind: str) -> Iterator[None]:
        """Something that takes as long as the block; from any thread."""
        if self._nvtx:
            self._nvtx.push_range(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            if self._nvtx:
                self._nvtx.pop_range()
            self._events.append(
                {
                    "name": name,
                    "cat": kind,
                    "ph": "X",
                    "ts": (start - self._start) * 1e6,
                    "dur": (end - start) * 1e6,
                    "pid": os.getpid(),
                    "tid": threading.get_native_id(),
                }
            )

    def to_json(self) -> bytes:
        """Of Chrome's trace event format, whose readers pass over members that they do not know."""
        return json.dumps({"traceEvents": self._events, "displayTimeUnit": "ms"}, indent=1).encode() + b"\n"


@contextmanager
def traced(path: Path | None, overwrite: bool = False) -> Iterator[None]:
    """Write what happens inside to `path`, also where it fails; None traces nothing. One trace at a time.

    Raises OutputError before anything happens where `path` cannot be written or is a file that is no trace of this
    program and may not be replaced by `overwrite`.
    """
    global _trace
    if path is None:
        yield
        return
    if _trace is not None:
        raise InputError(f"{path}: a trace is being written already, a process writes one at a time")
    folder = ResultFolder(path.parent, overwrite)
    with output_folder(path.parent):
        folder.require_free([path.name], SOURCE)
        _trace = trace = Trace()
        try:
            yield
        finally:
            _trace = None
            folder.write(path.name, trace.to_json(), SOURCE)


@contextmanager
def event(name: str, kind: str = "device") -> Iterator[None]:
    """An event of the trace that is on, if any."""
    if _trace is None:
        yield
        return
    with _trace.event(name, kind):
        yield


def _nvtx() -> ModuleType | None:
    """NVIDIA's annotations, which come with the extra trt; they cost next to nothing where no profiler listens."""
    try:
        import nvtx
    except ImportError:
        return None
    module: ModuleType = nvtx
    return module
