"""One result as a self-contained HTML page: the picture, the numbers, and what was not measured."""

import base64
from collections.abc import Sequence
from html import escape

from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.contracts.results import SegmentationResult

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
img { max-width: 100%; border: 1px solid #ddd }
table { border-collapse: collapse; margin: .5rem 0 1.5rem }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid #eee }
.number { font-variant-numeric: tabular-nums }
.bar { background: #4a7; height: .7rem; display: inline-block }
.fail { color: #b00; font-weight: bold }
"""


def render_report(result: SegmentationResult, overlay_png: bytes, manifest: Manifest) -> bytes:
    """UTF-8 HTML without links to anything outside."""
    picture = base64.b64encode(overlay_png).decode()
    height, width = result.masks.shape[1:]
    body = [
        f"<h1>{escape(result.text)}</h1>",
        f'<p><img alt="image with the mask drawn on it" src="data:image/png;base64,{picture}"></p>',
        f"<p>Score {result.score:.4f}, {int(result.mask.sum())} of {height * width} px, task {escape(result.task)}; "
        f"{result.evaluated} mask queries brought to full size.</p>",
        "<h2>Time per stage</h2>",
        _timings(result),
        "<h2>Parity of the ONNX graphs with their modules</h2>",
        _parity(manifest),
        "<h2>Bundle</h2>",
        _bundle(manifest),
        "<h2>Not measured</h2>",
        "<p>Nothing on this page says how good the mask is: that takes a data set with the right answers. "
        "The times are of this one run and include first-use costs.</p>",
    ]
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(result.text)}</title>'
        f"<style>{STYLE}</style>{''.join(body)}</html>\n"
    )
    return page.encode()


def _timings(result: SegmentationResult) -> str:
    longest = max(result.timings_ms.values(), default=0.0) or 1.0
    rows = []
    for name, milliseconds in result.timings_ms.items():
        bar = f'<span class="bar" style="width:{15 * milliseconds / longest:.2f}rem"></span>'
        rows.append((escape(name), _number(f"{milliseconds:.1f}"), bar))
    return _table(("stage", "ms", ""), rows)


def _parity(manifest: Manifest) -> str:
    if manifest.parity is None:
        return "<p>not measured</p>"
    rows = [
        (
            escape(entry.graph),
            escape(entry.output),
            escape(entry.measure),
            _number(f"{entry.worst_error:.1e}"),
            _number(f"{entry.tolerance:.0e}"),
            "passed" if entry.passed else '<span class="fail">FAILED</span>',
        )
        for entry in manifest.parity
    ]
    return _table(("graph", "output", "measure", "worst", "allowed", "verdict"), rows)


def _bundle(manifest: Manifest) -> str:
    rows = [("family", escape(manifest.family)), ("checkpoint", f"sha256 {manifest.provenance.checkpoint_sha256}")]
    rows += [(escape(name), escape(version)) for name, version in manifest.provenance.versions.items()]
    rows += [
        (escape(graph.spec.name), f"{graph.parameters:,} parameters, {graph.precision}") for graph in manifest.graphs
    ]
    return _table(("", ""), rows)


def _number(text: str) -> str:
    return f'<span class="number">{text}</span>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    lines = ["".join(f"<th>{cell}</th>" for cell in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
