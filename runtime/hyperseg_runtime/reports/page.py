"""A self-contained HTML page: its style, and the parts that pages are put together from. All parts are HTML."""

import base64
from collections.abc import Sequence
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
img { max-width: 100%; border: 1px solid #ddd }
img.chart { border: 0 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid #eee }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top }
figure img { image-rendering: pixelated; min-width: 16rem }
.number { font-variant-numeric: tabular-nums }
.fail { color: #b00; font-weight: bold }
"""


def page(title: str, body: Sequence[str]) -> bytes:
    """UTF-8 HTML without links to anything outside; `title` is text."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>{''.join(body)}</html>\n"
    ).encode()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    lines = ["".join(f"<th>{cell}</th>" for cell in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def number(text: str) -> str:
    """Digits under digits."""
    return f'<span class="number">{text}</span>'


def picture(png: bytes, about: str) -> str:
    """`about` is text for those who do not see it."""
    return f'<img alt="{escape(about)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def chart(svg: bytes, about: str) -> str:
    """A drawing of `reports.charts`."""
    return f'<img class="chart" alt="{escape(about)}" src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">'


def figure(image: str, caption: str) -> str:
    """An image with a caption of text."""
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
