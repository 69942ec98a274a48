"""The folder of one evaluation: what was asked of what, every row, the table, the page, a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hyperseg_bench.quality.samples import Row, in_order
from hyperseg_bench.quality.table import left_out, make_table
from hyperseg_runtime.batch.run_record import RunRecord
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.files.writing import write_atomically

TABLE, REPORT = "table.json", "report.html"
COMPARISON, COMPARISON_PAGE = "comparison.json", "comparison.html"


@dataclass(frozen=True)
class RunFolder(RunRecord):
    """One evaluation's results at `directory`, begun or complete."""

    what: str = "evaluation"
    results: tuple[str, ...] = (TABLE, REPORT, COMPARISON, COMPARISON_PAGE)

    def finish(self, keys: Sequence[str], rows: dict[str, list[Row]]) -> dict[str, Any]:
        """Write the table; what it holds."""
        ordered = [row for _, row in in_order(keys, rows)]
        content = {
            **(self.conditions() or {}),
            "samples": len(keys),
            "table": make_table(ordered),
            "left_out": left_out(ordered),
        }
        write_atomically(self.directory / TABLE, json_bytes(content))
        return content
