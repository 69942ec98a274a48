"""The HTML page of an evaluation, and of two compared."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from hyperseg_bench.quality.asks.registry import MEASURES
from hyperseg_bench.quality.comparison import Pair, by_change, summary
from hyperseg_bench.quality.pictures import LEGEND, row_picture
from hyperseg_bench.quality.samples import DataSet, Row, in_order
from hyperseg_runtime.contracts.results import encode_png
from hyperseg_runtime.reports.charts import histogram, pairs
from hyperseg_runtime.reports.page import chart, figure, number, page, picture, table

WORST = 12
"""Pictures of items on a page."""
LISTED = 50
"""Changed items on a page; all are in the JSON."""


def render_evaluation(content: Mapping[str, Any], rows: Mapping[str, list[Row]], data: DataSet) -> bytes:
    """`content` is that of the table's file."""
    scored = [(key, row) for key, row in in_order(data.keys, rows) if "left_out" not in row]
    title = f"{content['data_set']['name']}: {content['family']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _conditions(content),
        "<h2>Metrics</h2>",
        _numbers(content["table"]),
        _left_out(content["left_out"]),
        *_spread([row for _, row in scored]),
        f"<h2>The worst</h2><p>{LEGEND}</p>",
        *_worst(scored, data),
    ]
    return page(title, body)


def render_comparison(
    before: Mapping[str, Any], after: Mapping[str, Any], paired: Sequence[Pair], data: DataSet
) -> bytes:
    """The contents of both tables, and what became of each ask."""
    title = f"{after['data_set']['name']}: {after['family']}, before and after"
    changed = by_change(paired)
    body = [
        f"<h1>{escape(title)}</h1>",
        "<h2>Before</h2>",
        _conditions(before),
        _numbers(before["table"]),
        "<h2>After</h2>",
        _conditions(after),
        _numbers(after["table"]),
        f"<h2>Item by item</h2><p>{len(changed)} of {len(paired)} changed.</p>",
        _numbers(summary(paired)),
        *_dots(paired),
        f"<h2>What lost most</h2><p>{LEGEND}. Left before, right after.</p>",
        *_lost(changed, data),
        "<h2>What changed</h2>",
        table(
            ("sample", "asked", "kind", "before", "after"),
            [
                (escape(p.sample), escape(p.after["asked"]), escape(p.after["kind"]), _value(p.before), _value(p.after))
                for p in changed[:LISTED]
            ],
        ),
    ]
    return page(title, body)


def _conditions(content: Mapping[str, Any]) -> str:
    of_data = ", ".join(f"{name} {value}" for name, value in content["data_set"].items() if value is not None)
    facts = {name: str(content[name]) for name in ("family", "bundle", "precision", "backend", "samples")}
    facts["data set"] = of_data
    return table(("", ""), [(escape(name), escape(value)) for name, value in facts.items()])


def _numbers(found: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(metric for numbers in found.values() for metric in numbers))
    rows = [
        (escape(kind), *(number(f"{numbers[name]:.4g}") if name in numbers else "" for name in names))
        for kind, numbers in found.items()
    ]
    return table(("", *(escape(name.replace("_", " ")) for name in names)), rows)


def _left_out(reasons: Mapping[str, int]) -> str:
    rows = [(number(f"{count:,}"), escape(reason)) for reason, count in reasons.items()]
    return f"<h2>Not asked</h2>{table(('asks', 'reason'), rows)}" if rows else ""


def _spread(rows: Sequence[Row]) -> Iterator[str]:
    """A histogram of each measure's main number by kind."""
    for measure in dict.fromkeys(row["measure"] for row in rows):
        main = MEASURES[measure].main
        own = [row for row in rows if row["measure"] == measure]
        groups = {
            kind: [float(row[main]) for row in own if row["kind"] == kind] for kind in sorted({r["kind"] for r in own})
        }
        yield f"<h2>{escape(measure)}</h2>{chart(histogram(groups, main), f'histogram of {main}')}"


def _worst(scored: Sequence[tuple[str, Row]], data: DataSet) -> Iterator[str]:
    drawable = [(key, row) for key, row in scored if "found" in row]
    for key, row in sorted(drawable, key=lambda entry: float(entry[1][_main(entry[1])]))[:WORST]:
        yield figure(_drawn(data, key, row), f"{row['asked']} ({key}): {_value(row)}")


def _lost(changed: Sequence[Pair], data: DataSet) -> Iterator[str]:
    for pair in [pair for pair in changed if "found" in pair.after and pair.change < 0][:WORST]:
        both = "".join(_drawn(data, pair.sample, row) for row in (pair.before, pair.after))
        yield figure(both, f"{pair.after['asked']} ({pair.sample}): {_value(pair.before)} to {_value(pair.after)}")


def _dots(paired: Sequence[Pair]) -> Iterator[str]:
    for measure in dict.fromkeys(pair.after["measure"] for pair in paired):
        own = [pair for pair in paired if pair.after["measure"] == measure]
        main = own[0].main
        before, after = (
            [float(row[main]) for row in rows] for rows in zip(*((p.before, p.after) for p in own), strict=True)
        )
        yield chart(pairs(before, after, (f"{main} before", f"{main} after")), f"{measure}: each item before and after")


def _drawn(data: DataSet, key: str, row: Row) -> str:
    drawn = row_picture(data.sample(key), row)
    return "" if drawn is None else picture(encode_png(drawn), f"found and true mask of {row['asked']}")


def _main(row: Row) -> str:
    return MEASURES[row["measure"]].main


def _value(row: Row) -> str:
    return f"{_main(row)} {float(row[_main(row)]):.3f}"
