"""From pytest's JUnit file to the results of `make test-full` that the README shows.

    python tests/full_results.py build/full.xml benchmarks/results/test_full.json

Rows of files that ran take the place of older ones; the others stay with their date. Ends with 1 where a test failed,
so that make does.
"""

import json
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hyperseg_bench import measure

ROOT = Path(__file__).parent.parent


def summary(document: ElementTree.Element) -> list[dict[str, Any]]:
    """Counts, seconds, day and machine per test file."""
    files: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    for case in document.iter("testcase"):
        name = case.get("classname", "").replace(".", "/") + ".py"
        files.setdefault(name, Counter())[outcome(case)] += 1
        seconds[name] += float(case.get("time", 0))
    ran = {"date": datetime.now(UTC).date().isoformat(), "environment": measure.environment()}
    return [{"file": name, **counts, "seconds": round(seconds[name], 1), **ran} for name, counts in files.items()]


def merged(kept: list[dict[str, Any]], ran: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Newer rows for older ones; without those of files that are gone."""
    rows = {row["file"]: row for row in (*kept, *ran)}
    return [rows[name] for name in sorted(rows) if (ROOT / name).is_file()]


def outcome(case: ElementTree.Element) -> str:
    for kind in ("failure", "error", "skipped"):
        if case.find(kind) is not None:
            return "skipped" if kind == "skipped" else "failed"
    return "passed"


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table that the README shows."""
    lines = ["| long tests | passed | failed | skipped | seconds | last run |", "|---|---|---|---|---|---|"]
    for row in rows:
        counts = " | ".join(str(row.get(kind, 0)) for kind in ("passed", "failed", "skipped"))
        lines.append(f"| `{row['file']}` | {counts} | {row['seconds']:.0f} | {row['date']} |")
    return "\n".join(lines)


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    ran = summary(ElementTree.parse(source).getroot())
    rows = merged(json.loads(target.read_text()) if target.exists() else [], ran)
    target.write_text(json.dumps(rows, indent=1) + "\n")
    print(markdown(rows))
    if any(row.get("failed") for row in ran):
        sys.exit(1)


if __name__ == "__main__":
    main()
