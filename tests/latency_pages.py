"""What the page of a benchmark shows, held against the summary it was made from."""

import re
from html.parser import HTMLParser
from typing import Any


class _Cells(HTMLParser):
    """The text of every table cell of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        self._inside = tag == "td" or (self._inside and tag == "span")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def require_equal_numbers(content: dict[str, Any], page: str) -> None:
    """Every number of a row stands in the page's row, and the page names nothing outside itself."""
    cells = _Cells(page).rows
    for row in content["rows"]:
        shown = next(c for c in cells if c[:3] == [row["scenario"], row["subject"], row["part"] or row["metric"]])
        assert f"{row['median_ms']:.2f}" in shown
        if row["p50_ms"]:
            assert f"{row['p50_ms']['low']:.2f}..{row['p50_ms']['high']:.2f}" in shown
        if row.get("floor_ms") is not None:
            assert f"{row['floor_ms']:.3f}" in shown and f"{row['of_floor']:.1%}" in " ".join(shown)
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
