"""From pytest's JUnit file to the results of `make test-full` that the README shows.

    python tests/full_results.py build/full.xml benchmarks/results/test_full.json

Ends with 1 where a test failed, so that make does.
"""

import json
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hyperseg_bench import measure


def summary(document: ElementTree.Element) -> dict[str, Any]:
    """Counts and seconds per test file."""
    files: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    for case in document.iter("testcase"):
        name = case.get("classname", "").replace(".", "/") + ".py"
        files.setdefault(name, Counter())[outcome(case)] += 1
        seconds[name] += float(case.get("time", 0))
    rows = [{"file": name, **counts, "seconds": round(seconds[name], 1)} for name, counts in sorted(files.items())]
    return {"date": datetime.now(UTC).date().isoformat(), "environment": measure.environment(), "files": rows}


def outcome(case: ElementTree.Element) -> str:
    for kind in ("failure", "error", "skipped"):
        if case.find(kind) is not None:
            return "skipped" if kind == "skipped" else "failed"
    return "passed"


def markdown(content: dict[str, Any]) -> str:
    """The line and the table that the README shows."""
    rows: Iterable[dict[str, Any]] = content["files"]
    lines = [
        f"Last run of `make test-full`: {content['date']}, {content['environment']['cores']} cores.",
        "",
        "| long tests | passed | failed | skipped | seconds |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        counts = " | ".join(str(row.get(kind, 0)) for kind in ("passed", "failed", "skipped"))
        lines.append(f"| `{row['file']}` | {counts} | {row['seconds']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    content = summary(ElementTree.parse(source).getroot())
    target.write_text(json.dumps(content, indent=1) + "\n")
    print(markdown(content))
    if any(row.get("failed") for row in content["files"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
