"""Scenarios: what each family does of them, and why not the rest."""

from typing import cast

import numpy as np
import pytest

from hyperseg_bench.latency.class_names import STUFF, THINGS
from hyperseg_bench.latency.scenarios import SCENARIOS, chosen, class_list, expression
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import VIDEO
from hyperseg_runtime.session.pipeline import Pipeline


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_family_does_what_it_declares(family) -> None:
    done = {name for name, scenario in SCENARIOS.items() if not scenario.lacking(family)}
    assert {"first", "next", "batch"} <= done
    assert ("chat" in done) == any(task.request.kind == "questions" for task in family.tasks)
    assert ("frame" in done) == bool(family.video_tasks)
    for name in SCENARIOS.keys() - done:
        assert SCENARIOS[name].lacking(family) == family.lacks[SCENARIOS[name].kind]
    assert SCENARIOS["frame"].kind == VIDEO


class HoldingBack:
    """A pipeline and its video: the first frames are answered together when the window is full, then each by one."""

    def __init__(self, window: int) -> None:
        self.family, self.window = FAMILIES["instructseg"], window
        self.answered: list[int] = []

    def open_video(self) -> "HoldingBack":
        return self

    def push(self, frame: np.ndarray, request: object) -> list[int]:
        seen = len(self.answered) + 1
        self.answered.append(0 if seen < self.window else 1 + (seen == self.window) * (self.window // 2))
        return [0] * self.answered[-1]

    def finish(self) -> None: ...


@pytest.mark.parametrize("window", [1, 5])
def test_every_frame_that_is_timed_is_answered(window: int) -> None:
    pipeline = HoldingBack(window)
    with SCENARIOS["frame"].begin(cast(Pipeline, pipeline), [np.zeros((4, 4, 3), np.uint8)] * 2) as ask:
        before = len(pipeline.answered)
        assert all(ask(number)["request"] >= 0 for number in range(3))
    assert before == window and pipeline.answered[window:] == [1, 1, 1]


def test_a_video_that_answers_nothing_is_refused() -> None:
    with (
        pytest.raises(InputError, match="InstructSeg answered none of 65 frames"),
        SCENARIOS["frame"].begin(cast(Pipeline, HoldingBack(100)), [np.zeros((4, 4, 3), np.uint8)]),
    ):
        pass


def test_no_text_comes_twice() -> None:
    texts = [expression(number) for number in range(910)]
    assert len(set(texts)) == 910 and expression(910) == texts[0]


class Remembering:
    """A pipeline and its session that keep every text they are asked."""

    family = FAMILIES["unilseg"]

    def __init__(self) -> None:
        self.texts: list[str] = []

    def open(self, picture: np.ndarray, keep: bool) -> "Remembering":
        return self

    def __enter__(self) -> "Remembering":
        return self

    def __exit__(self, *_: object) -> None: ...

    def segment(self, text: str) -> None:
        self.texts.append(text)

    def segment_many(self, texts: list[str]) -> None:
        self.texts.extend(texts)


def test_scenarios_share_no_text() -> None:
    """Else a scenario would find remembered what another one asked, and take another time alone than beside it."""
    pipeline = Remembering()
    for name in ("first", "next", "batch"):
        with SCENARIOS[name].begin(cast(Pipeline, pipeline), [np.zeros((4, 4, 3), np.uint8)]) as ask:
            for number in range(-4, 43):  # as many as a run of 20 rounds asks, with those that are waited for
                ask(number)
    assert len(pipeline.texts) == len(set(pipeline.texts)) == 47 + 48 + 8 * 47


def test_the_classes_are_cocos() -> None:
    assert (len(THINGS), len(STUFF), len({*THINGS, *STUFF})) == (80, 53, 133)
    lists = [class_list(FAMILIES["hipie"], number) for number in range(133)]
    assert len({asked.names for asked in lists}) == 133 and class_list(FAMILIES["hipie"], 133) == lists[0]
    assert lists[0].task == "panoptic" and class_list(FAMILIES["instructseg"], 0).task is None
    for asked in lists:
        assert asked.things is not None
        assert {name for name, thing in zip(asked.names, asked.things, strict=True) if thing} == set(THINGS)


def test_unknown_scenarios_are_refused_with_those_there_are() -> None:
    assert [scenario.name for scenario in chosen([])] == list(SCENARIOS)
    with pytest.raises(InputError, match="unknown scenario 'second'; choose first, next"):
        chosen(["second"])
