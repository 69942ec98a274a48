"""The HTML page of one result."""

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.bundle.manifest import Manifest, ParityEntry
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.reports.html import render_report

COMMAND = ["hyperseg-trt", "run", "bundle", "a photo.jpg", "the cup"]
ATTACK = "<script>alert('x')</script> \" & '"


class Page(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_from_outside(bundle: Bundle) -> None:
    page = render_report(result(), b"PNG", bundle.manifest, COMMAND)
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object", "a"} & set(parsed.tags)
    pictures = [value for name, value in parsed.attributes if name in ("src", "href")]
    assert len(pictures) == 2 and pictures[0] == "data:image/png;base64,UE5H"
    assert pictures[1] is not None and pictures[1].startswith("data:image/svg+xml;base64,")
    assert not re.search(rb"https?:|url\(|@import", page)
    assert page.startswith(b'<!doctype html><html lang="en"><meta charset="utf-8">')


def test_it_shows_text_numbers_stages_and_parity(bundle: Bundle) -> None:
    parsed = Page(render_report(result(), b"PNG", bundle.manifest, COMMAND))
    shown = " ".join(parsed.texts)
    for expected in (
        "the cup ☕",
        "Score 0.7500, 6 of 24 px, task referring. queries evaluated 7, prompt tokens 161",
        "mask_decoder",
        "12.3",
        bundle.manifest.provenance.checkpoint_sha256,
        "mask_logits",
        "passed",
        "processor",
        "Not measured",
        "hyperseg-trt run bundle 'a photo.jpg' 'the cup'",
    ):
        assert expected in shown
    assert "FAILED" not in shown


def test_text_of_the_user_stays_text(bundle: Bundle) -> None:
    page = render_report(
        result(asked=(ATTACK,), labels=(ATTACK,), task=ATTACK, timings_ms={ATTACK: 1.0}, details={ATTACK: ATTACK}),
        b"PNG",
        bundle.manifest,
        ["hyperseg-trt", ATTACK],
    )
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert parsed.texts.count(ATTACK) == 3  # title, heading, stage; task and details stand in a longer text
    (sentence,) = (text for text in parsed.texts if text.startswith("Score"))
    assert sentence.endswith(f"task {ATTACK}. {ATTACK} {ATTACK}")


def test_text_of_the_bundle_stays_text(bundle: Bundle) -> None:
    """A bundle may come from anybody."""
    content = bundle.manifest.model_dump(mode="json")
    content["family"] = ATTACK
    content["graphs"][0]["spec"]["name"] = ATTACK
    content["provenance"]["versions"] = {ATTACK: ATTACK}
    content["parity"][0] |= {"graph": ATTACK, "output": ATTACK}
    parsed = Page(render_report(result(), b"PNG", Manifest.model_validate(content), COMMAND))
    assert "script" not in parsed.tags
    assert parsed.texts.count(ATTACK) == 6


def test_a_failed_and_an_unmeasured_parity_are_told_plainly(bundle: Bundle) -> None:
    failed = ParityEntry(graph="llm", output="hidden_states", worst_error=0.5, tolerance=1e-4, passed=False)
    texts = Page(
        render_report(result(), b"PNG", bundle.manifest.model_copy(update={"parity": (failed,)}), COMMAND)
    ).texts
    assert "FAILED" in texts and "passed" not in texts
    texts = Page(render_report(result(), b"PNG", bundle.manifest.model_copy(update={"parity": None}), COMMAND)).texts
    assert "not measured" in texts and "passed" not in texts


@pytest.mark.parametrize("timings_ms", [{}, {"llm": 0.0}])
def test_times_may_be_absent_or_zero(bundle: Bundle, timings_ms: dict[str, float]) -> None:
    parsed = Page(render_report(result(timings_ms=timings_ms), b"PNG", bundle.manifest, COMMAND))
    assert ("llm" in parsed.texts) == bool(timings_ms) or "Time per stage" in parsed.texts


def result(**change: Any) -> Instances:
    masks = np.zeros((1, 4, 6), bool)
    masks[0, 1:3, 2:5] = True
    parts: dict[str, Any] = {
        "masks": masks,
        "scores": np.array([0.75], np.float32),
        "labels": ("the cup ☕",),
        "asked": ("the cup ☕",),
        "task": "referring",
        "timings_ms": {"llm": 1.23456, "mask_decoder": 12.34},
        "details": {"queries_evaluated": 7, "prompt_tokens": 161},
    }
    return Instances(**{**parts, **change})
