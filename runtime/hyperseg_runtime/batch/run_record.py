"""The folder of a run: what decides its items, and those that are done. Items of two runs are never mixed.

run.json      the conditions: equal ones go on where a run was stopped
items.jsonl   a line for each item, see `item_file`
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperseg_runtime.batch.item_file import ItemFile
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.errors import InputError, OutputError
from hyperseg_runtime.files.writing import explained, write_atomically

RUN, ITEMS = "run.json", "items.jsonl"


@dataclass(frozen=True)
class RunRecord:
    """A run in the folder `directory`, begun or complete.

    what     the kind of run, for people
    results  names of files that are made of its items
    """

    directory: Path
    what: str
    results: tuple[str, ...] = ()

    def begin(self, conditions: Mapping[str, Any], overwrite: bool) -> ItemFile:
        """What is done already; with `overwrite` nothing, whatever lies there.

        Raises OutputError where another run or anything else lies there.
        """
        if overwrite:
            self._clear()
        found = self.conditions()
        if found is None:
            self._require_free()
            write_atomically(self.directory / RUN, json_bytes(conditions))
        elif not self.holds(conditions):
            wanted = _as_stored(conditions)
            other = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
            raise OutputError(
                f"{self.directory}: holds another {self.what} (its {', '.join(other)} differ); choose another place "
                "with --out, or begin anew with --overwrite"
            )
        return self.items()

    @contextmanager
    def written_to(self, items: ItemFile) -> Iterator[None]:
        """Around the time in which `items` are added to. A run that ends before it has one is none: what was wrong with
        it may be among its conditions.
        """
        try:
            with items:
                yield
        except BaseException:
            if not items.rows:
                self._clear()
            raise

    def holds(self, conditions: Mapping[str, Any]) -> bool:
        """Whether the run that lies there was begun under these conditions."""
        return self.conditions() == _as_stored(conditions)

    def conditions(self) -> dict[str, Any] | None:
        """What `RUN` says; None where there is none. Raises InputError for a file that says something else."""
        path = self.directory / RUN
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise InputError(f"{path}: is no JSON ({error}); begin anew with --overwrite") from error
        if not isinstance(content, dict):
            raise InputError(f"{path}: expected the conditions of a run; begin anew with --overwrite")
        return content

    def items(self) -> ItemFile:
        return ItemFile(self.directory / ITEMS)

    def _require_free(self) -> None:
        taken = [name for name in (ITEMS, *self.results) if (self.directory / name).exists()]
        if taken:
            raise OutputError(f"{self.directory}: {taken[0]} is there, without {RUN}; choose another place with --out")

    def _clear(self) -> None:
        """`RUN` goes last: items without it would be nobody's."""
        with explained(self.directory):
            for name in (ITEMS, *self.results, RUN):
                (self.directory / name).unlink(missing_ok=True)


def _as_stored(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """As reading them back gives them: JSON has no tuples."""
    stored: dict[str, Any] = json.loads(json_bytes(conditions))
    return stored
