"""What was found of many samples, on disk: one line of JSON for each, written as the samples are done.

A line goes out in one write at the end of the file. Whatever ends the process leaves whole lines and at most one that
is not: it is cut off when the file is opened again, and its sample is asked once more.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hyperseg_runtime.console import json_line
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.writing import explained

Row = dict[str, Any]
"""JSON."""


class ItemFile:
    """`rows` holds what was read and added; a context manager around the time of writing."""

    def __init__(self, path: Path) -> None:
        """Raises InputError for a file that holds something else."""
        self.path = path
        self.rows: dict[str, list[Row]] = {}
        whole = 0
        with explained(path):
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("the line has no end")
                entry = json.loads(line)
                self.rows[entry["sample"]] = list(entry["rows"])
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines):
                    break
                raise InputError(
                    f"{path}: line {number} holds no rows of a sample ({error}); begin anew with --overwrite"
                ) from error
            whole += len(line)
        self._whole = whole

    def __enter__(self) -> Self:
        with explained(self.path):
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666)
            os.ftruncate(self._handle, self._whole)
            os.lseek(self._handle, 0, os.SEEK_END)
        return self

    def add(self, key: str, rows: Sequence[Row]) -> None:
        """One more sample. Raises ResourceError where the disk is full; the samples before stay."""
        line = json_line({"sample": key, "rows": list(rows)})
        with explained(self.path):
            written = os.write(self._handle, line)
            while written < len(line):
                written += os.write(self._handle, line[written:])
        self.rows[key] = list(rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with explained(self.path):
            os.fsync(self._handle)
        os.close(self._handle)


def missing(keys: Sequence[str], rows: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Names of the samples that are still to be asked, in order."""
    return (key for key in keys if key not in rows)
