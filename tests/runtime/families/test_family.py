"""What a family declares, and what is said of the rest."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions, Request
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.contracts.sampling import Sampling
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import NO_HINTS, VIDEO, FamilySpec, Task, no_hints, warm_up


def family(**change: Any) -> FamilySpec:
    """One that answers expressions in two tasks and questions in one, about images; and expressions in videos."""
    parts: dict[str, Any] = {
        "name": "imaginary",
        "title": "Imaginary",
        "paper": "none",
        "licence": "none",
        "tasks": (
            Task("referring", Expressions, "the object that an expression names"),
            Task("answer", Question, "a question"),
            Task("reasoning", Expressions, "the object that a sentence hints at"),
        ),
        "video_tasks": (Task("tracking", Expressions, "the object in each frame"),),
        "lacks": {Regions.kind: "it has no region encoder"},
        "graph_specs": lambda dimensions: (),
        "open_model": lambda bundle, graphs, backend: None,
        "published": {},
        "image_inputs": lambda bundle: lambda image: {},
        "warm_up": (Expressions(("it",)), Question("What?", max_tokens=2)),
    }
    return FamilySpec(**{**parts, **change})


def test_the_first_task_of_a_kind_is_its_default() -> None:
    assert family().answers(Expressions) == ("referring", "reasoning") and family().answers(Classes) == ()
    assert family().with_task(Expressions(("a", "b"), max_tokens=3)) == Expressions(("a", "b"), "referring", 3)
    asked = Question("What?", Sampling(0.5), 7)
    assert family().with_task(asked) == replace(asked, task="answer")


def test_a_task_that_is_named_stays() -> None:
    assert family().with_task(Expressions(("a",), "reasoning")) == Expressions(("a",), "reasoning")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Expressions(("a",), "panoptic"), "unknown task 'panoptic' for expressions; Imaginary knows referring, reason"),
        (Expressions(("a",), "tracking"), "unknown task 'tracking' for expressions"),
        (Expressions(("a",), "answer"), "unknown task 'answer' for expressions"),
        (Expressions(("a",), ""), "unknown task '' for expressions"),
        (Question("a", task="referring"), "unknown task 'referring' for questions; Imaginary knows answer"),
    ],
    ids=str,
)
def test_an_unknown_task_is_refused_with_the_known_ones(request_: Request, message: str) -> None:
    with pytest.raises(InputError) as caught:
        family().with_task(request_)
    assert str(caught.value).startswith(message)


def test_a_kind_of_request_that_is_not_answered_is_refused_in_a_sentence() -> None:
    """With the family's own reason, and what it does answer."""
    known = "expressions (reasoning), expressions (referring), expressions (tracking), questions (answer)"
    for task in (None, "referring"):
        with pytest.raises(InputError) as caught:
            family().with_task(Regions(points_xy=((1.0, 2.0),), task=task))
        assert str(caught.value) == (f"Imaginary does not answer regions: it has no region encoder; it answers {known}")
    with pytest.raises(InputError, match="does not answer classes: it has no such task; it answers"):
        family().with_task(Classes(("a",)))


def test_videos_have_tasks_of_their_own() -> None:
    assert family().with_video_task(Expressions(("a",))) == Expressions(("a",), "tracking")
    with pytest.raises(InputError, match="unknown task 'referring' for expressions; Imaginary knows tracking"):
        family().with_video_task(Expressions(("a",), "referring"))
    assert family().video_answers(Expressions) == ("tracking",) and not family().video_answers(Regions)
    with pytest.raises(
        InputError, match="Imaginary does not answer regions about videos: it has no region encoder; it "
    ):
        family().with_video_task(Regions())


def test_a_family_without_videos_says_why() -> None:
    with pytest.raises(InputError, match="Imaginary does not answer videos: it sees one image; it answers expr"):
        family(video_tasks=(), lacks={VIDEO: "it sees one image"}).with_video_task(Expressions(("a",)))


class Model:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def segment(self, image: object, request: Request) -> list[Instances]:
        self.asked.append(request)
        return []

    def ask(self, image: object, question: Question) -> "Model":
        self.asked.append(question)
        return self

    def finished(self) -> None:
        self.asked.append(Question("finished"))


class State:
    size_bytes = 0


def test_a_warm_up_asks_everything_to_its_end() -> None:
    model = Model()
    warm_up(family(), model, State())
    asked = Question("What?", max_tokens=2, task="answer")
    assert model.asked == [Expressions(("it",), "referring"), asked, Question("finished")]


def test_what_a_family_need_not_have() -> None:
    made = family()
    assert (made.files, dict(made.tables({"width": 3}))) == ((), {})
    assert made.profile_hints is no_hints and NO_HINTS.split == NO_HINTS.presets == {}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_registered_family_declares_what_it_can_keep(name: str) -> None:
    """A warm-up it answers itself, contracts and tables for its published dimensions, hints about axes that exist."""
    known = FAMILIES[name]
    assert all(known.with_task(asked).task for asked in known.warm_up)
    assert all(". " not in reason for reason in known.lacks.values())
    specs = known.graph_specs(known.published)
    assert len({spec.name for spec in specs}) == len(specs) > 0
    for spec in specs:
        hints = known.profile_hints(spec)
        for axes in (*hints.split.values(), *hints.presets.values()):
            assert axes.keys() <= spec.axis_ranges.keys()
    assert all(rows > 0 and width > 0 for rows, width in known.tables(known.published).values())


def test_regions_with_masks_keep_them() -> None:
    mask = np.ones((2, 2), bool)
    known = family(tasks=(Task("marked", Regions, "the object at each region"),), lacks={})
    asked = known.with_task(Regions(masks=(mask,)))
    assert asked.task == "marked" and asked.masks[0] is mask
