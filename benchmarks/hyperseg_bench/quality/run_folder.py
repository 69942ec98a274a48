"""The folder of one evaluation: what was asked of what, every row, the table, the page."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hyperseg_bench.quality.datasets.registry import Choice
from hyperseg_bench.quality.samples import Row, in_order
from hyperseg_bench.quality.table import left_out, make_table
from hyperseg_runtime.batch.item_file import ItemFile
from hyperseg_runtime.bundle.manifest import FILE_NAME
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.errors import InputError, OutputError
from hyperseg_runtime.files.writing import explained, write_atomically

RUN, ITEMS, TABLE, REPORT = "run.json", "items.jsonl", "table.json", "report.html"


@dataclass(frozen=True)
class Conditions:
    """What decides the rows of an evaluation.

    bundle     sha256 of its manifest, which holds those of all its files
    keys       sha256 of the names of the samples
    precision  of the graphs, as `precision_of` tells it
    """

    family: str
    bundle: str
    precision: str
    backend: str
    data_set: dict[str, Any]
    keys: str

    @classmethod
    def of(
        cls, bundle: Path, family: str, precision: str, backend: str, choice: Choice, keys: Sequence[str]
    ) -> "Conditions":
        manifest, names = (bundle / FILE_NAME).read_bytes(), "\n".join(keys).encode()
        digests = [hashlib.sha256(data).hexdigest() for data in (manifest, names)]
        return cls(family, digests[0], precision, backend, choice.told(), digests[1])


class RunFolder:
    """One evaluation's results at `directory`, begun or complete."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def begin(self, conditions: Conditions, overwrite: bool) -> ItemFile:
        """What is done already. Raises OutputError where another evaluation or anything else lies there."""
        found = self.conditions_found()
        if found == asdict(conditions):
            return self.items()
        if not overwrite:
            if found is not None:
                other = [name for name, value in asdict(conditions).items() if found.get(name) != value]
                raise OutputError(
                    f"{self.directory}: holds another evaluation (its {', '.join(other)} differ); choose another place "
                    "with --out, or begin anew with --overwrite"
                )
            taken = [name for name in (ITEMS, TABLE, REPORT) if (self.directory / name).exists()]
            if taken:
                raise OutputError(
                    f"{self.directory}: {taken[0]} is there, without {RUN}; choose another place with --out"
                )
        with explained(self.directory):
            for name in (RUN, ITEMS, TABLE, REPORT):
                (self.directory / name).unlink(missing_ok=True)
        write_atomically(self.directory / RUN, json_bytes(asdict(conditions)))
        return self.items()

    def conditions_found(self) -> dict[str, Any] | None:
        """What `RUN` says; None where there is none. Raises InputError for a file that says something else."""
        path = self.directory / RUN
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise InputError(f"{path}: is no JSON ({error})") from error
        if not isinstance(content, dict):
            raise InputError(f"{path}: expected the conditions of an evaluation")
        return content

    def items(self) -> ItemFile:
        return ItemFile(self.directory / ITEMS)

    def finish(self, keys: Sequence[str], rows: dict[str, list[Row]]) -> dict[str, Any]:
        """Write the table; what it holds."""
        ordered = [row for _, row in in_order(keys, rows)]
        content = {
            **(self.conditions_found() or {}),
            "samples": len(keys),
            "table": make_table(ordered),
            "left_out": left_out(ordered),
        }
        write_atomically(self.directory / TABLE, json_bytes(content))
        return content
