"""One result as a self-contained HTML page: the picture, the numbers, and what was not measured.

The small sister of a benchmark's page: the same parts in the same order, of one run.
"""

import shlex
from collections.abc import Sequence
from html import escape

import numpy as np

from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap
from hyperseg_runtime.reports import machine
from hyperseg_runtime.reports.charts import waterfall
from hyperseg_runtime.reports.page import chart, number, page, picture, table
from hyperseg_runtime.reports.quantization_tables import COLUMNS, MEASURE_COLUMNS, gate_line, graph_rows, measure_rows


def render_report(result: Result, overlay_png: bytes, manifest: Manifest, command: Sequence[str]) -> bytes:
    """UTF-8 HTML without links to anything outside; `command` is what made the result."""
    asked = ", ".join(result.asked)
    body = [
        f"<h1>{escape(asked)}</h1>",
        f"<p>{picture(overlay_png, 'image with the mask drawn on it')}</p>",
        f"<p>{_found(result)}, task {escape(result.task)}. {_details(result)}</p>",
        "<h2>Time per stage</h2>",
        _timings(result),
        "<h2>Parity of the ONNX graphs with their modules</h2>",
        _parity(manifest),
        "<h2>Bundle</h2>",
        _bundle(manifest),
        "<h2>Machine</h2>",
        table(("", ""), [(escape(name), escape(str(value))) for name, value in machine.environment().items()]),
        "<h2>Not measured</h2>",
        "<p>Nothing on this page says how good the mask is: that takes a data set with the right answers. "
        "The times are of this one run and include first-use costs; `hyperseg-trt bench` measures them.</p>",
        f"<h2>Reproduce</h2><p><code>{escape(shlex.join(command))}</code></p>",
    ]
    return page(asked, body)


def _found(result: Result) -> str:
    match result:
        case Instances():
            more = f", the best of {len(result.masks)}" if len(result.masks) > 1 else ""
            return f"Score {result.score:.4f}, {int(result.mask.sum())} of {result.mask.size} px{more}"
        case SemanticMap(classes=classes):
            return f"{len(np.unique(classes[classes >= 0]))} classes in {classes.size} px"
        case PanopticMap(ids=ids, segments=segments):
            return f"{len(segments)} segments in {int((ids > 0).sum())} of {ids.size} px"


def _details(result: Result) -> str:
    return escape(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.details.items()))


def _timings(result: Result) -> str:
    """Stages one after another, as a run with an eye on its stages does them."""
    rows = [(escape(name), number(f"{ms:.1f}")) for name, ms in result.timings_ms.items()]
    spans, start = [], 0.0
    for name, ms in result.timings_ms.items():
        spans.append((name, start, ms, True))
        start += ms
    drawn = chart(waterfall(spans, "ms"), "time of each stage, one after another")
    return f"{drawn}{table(('stage', 'ms'), rows)}"


def _parity(manifest: Manifest) -> str:
    if manifest.parity is None:
        return "<p>not measured</p>"
    rows = [
        (
            escape(entry.graph),
            escape(entry.output),
            escape(entry.what()),
            number(f"{entry.worst_error:.1e}"),
            number(f"{entry.tolerance:.0e}"),
            "passed" if entry.passed else '<span class="fail">FAILED</span>',
        )
        for entry in manifest.parity
    ]
    return table(("graph", "output", "measure", "worst", "allowed", "verdict"), rows)


def _bundle(manifest: Manifest) -> str:
    rows = [("family", escape(manifest.family)), ("checkpoint", f"sha256 {manifest.provenance.checkpoint_sha256}")]
    rows += [(escape(name), escape(version)) for name, version in manifest.provenance.versions.items()]
    rows += [
        (escape(graph.spec.name), f"{graph.parameters:,} parameters, {escape(graph.number_format)}")
        for graph in manifest.graphs
    ]
    return table(("", ""), rows) + _quantised(manifest)


def _quantised(manifest: Manifest) -> str:
    """How each graph was rounded, and the task metrics before and after; nothing for a bundle that was not."""
    entry = manifest.quantization
    if entry is None:
        return ""
    line = f"<p>Quantised by recipe {escape(entry.recipe)}; {escape(gate_line(entry))}</p>"
    measures = _plain(MEASURE_COLUMNS, measure_rows(entry.gate)) if entry.gate else ""
    return line + _plain(COLUMNS, graph_rows(manifest)) + measures


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the console on the page."""
    return table([column.lstrip(">") for column in columns], [tuple(map(escape, row)) for row in rows])
