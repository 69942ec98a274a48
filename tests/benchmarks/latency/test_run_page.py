"""The page of a run: its numbers are the summary's, in a real browser too, and what others wrote stays text."""

import json
import re
from pathlib import Path

import numpy as np

from chromium import opened
from hyperseg_bench.latency.lines import Absent, Drawn, Memory
from hyperseg_bench.latency.run_page import render, verdict
from hyperseg_bench.latency.summary import summarise
from hyperseg_runtime.contracts.results import encode_png
from latency_lines import made_lines
from latency_pages import require_equal_numbers

FAST, SLOW = "b onnxruntime", "b <torch>"
QUALITY = {name: {"table": {"expressions, all": {"cIoU": value}}} for name, value in (("before", 0.81), ("after", 0.8))}


def made(folder: Path) -> tuple[dict, bytes]:
    """The summary of a made run, read back from JSON, and its page with quality of two evaluations."""
    for name in ("mask-0.png", "mask-1.png", "difference-1.png"):
        (folder / name).write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    drawn = Drawn(subject=FAST, asked="the cup", overlay="mask-0.png", score=0.5, pixels=16)
    held_against = {"reference": FAST, "difference": "difference-1.png", "differing_px": 3}
    other = drawn.model_copy(update={"subject": SLOW, "overlay": "mask-1.png", **held_against})
    memory = Memory(subject=FAST, host_bytes=5_000_000, peak_host_bytes=7_000_000)
    absent = Absent(subject="b tensorrt", reason="TensorRT is missing")
    lines = [*made_lines({FAST: 10.0, SLOW: 20.0}, floor_ms=6.0), memory, drawn, other, absent]
    content = json.loads(json.dumps(summarise(lines)))
    return content, render(content, QUALITY, folder)


def test_a_real_browser_shows_the_numbers_of_the_summary(tmp_path: Path) -> None:
    content, page = made(tmp_path)
    shown = opened(page, tmp_path)
    require_equal_numbers(content, shown)
    (pictures,), (broken,) = (re.findall(rf'data-{name}="(\d+)"', shown) for name in ("pictures", "broken"))
    assert (int(pictures), int(broken)) == (6, 0)  # three masks, medians, two time lines


def test_every_part_is_there(tmp_path: Path) -> None:
    content, page = made(tmp_path)
    require_equal_numbers(content, page.decode())
    text = page.decode()
    for expected in (
        "first (request): 10",
        "with b onnxruntime",
        "error of measurement: b onnxruntime, first, encoder",
        '<span class="fail">11',
        "Critical path",
        "TensorRT is missing",
        "3 of 16 pixels differ from b onnxruntime",
        "0.81",
        "hyperseg-trt bench &#x27;a b&#x27;",
        "100.0 GFLOP/s",
        "b &lt;torch&gt;",
        "not measured",
    ):
        assert expected in text, expected
    assert "<torch>" not in text


def test_a_lead_that_samples_do_not_tell_is_no_lead() -> None:
    sentences = list(verdict(summarise(made_lines({"a": 10.0, "b": 9.99}))))
    assert "which these samples do not tell apart" in sentences[0]
    assert list(verdict(summarise(made_lines({"a": 1.0})[:1]))) == ["not measured: nothing could be run."]
