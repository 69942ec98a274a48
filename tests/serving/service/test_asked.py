"""What is asked from outside, as requests of a family; what it does not answer is refused in its own words."""

import re

import pytest

from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.contracts.sampling import Sampling
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import VIDEO, FamilySpec
from hyperseg_serving.contract import Limits, Options, PointedAt
from hyperseg_serving.refusals import RefusalError
from hyperseg_serving.service.asked import asked_of, asked_of_frame, bounded
from hyperseg_serving.service.requests import Request

TALKER = next(family for family in FAMILIES.values() if family.answers(Question))
BY_KIND = {
    Expressions.kind: Request(b"file", ("a",)),
    Classes.kind: Request(b"file", classes=("a",)),
    Regions.kind: Request(b"file", regions=PointedAt(points=((1.0, 2.0),))),
    Question.kind: Request(question="a?"),
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("kind", BY_KIND)
def test_a_kind_of_request_is_answered_or_refused_in_the_familys_words(family: FamilySpec, kind: str) -> None:
    if kind in family.lacks:
        with pytest.raises(InputError, match=re.escape(family.lacks[kind])):
            asked_of(family, BY_KIND[kind])
    else:
        (asked,) = asked_of(family, BY_KIND[kind])
        assert asked.kind == kind and asked.task == family.answers(type(asked))[0]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_frames_too(family: FamilySpec) -> None:
    if not family.video_answers(Expressions):
        with pytest.raises(InputError, match=re.escape(family.lacks.get(VIDEO, "does not answer expressions about"))):
            asked_of_frame(family, Request(b"file", ("a",)))
    else:
        task = family.video_answers(Expressions)[0]
        assert asked_of_frame(family, Request(b"file", ("a",))) == Expressions(("a",), task)
        with pytest.raises(InputError, match="unknown task 'none'"):
            asked_of_frame(family, Request(b"file", ("a",), options=Options(task="none")))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_frames_whose_objects_are_followed(family: FamilySpec) -> None:
    first, later = Request(b"file", regions=PointedAt(boxes=((0, 1, 2, 3),))), Request(b"file")
    if not family.video_answers(Regions):
        with pytest.raises(InputError, match=f"{family.title} does not (answer|segment)"):
            asked_of_frame(family, first)
        with pytest.raises(RefusalError, match="nothing is asked of this frame"):
            asked_of_frame(family, later)
    else:
        task = family.video_answers(Regions)[0]
        assert asked_of_frame(family, first) == Regions(boxes_xyxy=((0, 1, 2, 3),), task=task)
        assert asked_of_frame(family, later) == Regions(task=task)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_frames_whose_objects_are_those_of_a_list(family: FamilySpec) -> None:
    request = Request(b"file", classes=("a", "b"), options=Options(things=(True, False)))
    if not family.video_answers(Classes):
        why = family.lacks.get(VIDEO) or family.lacks.get(Classes.kind, "it has no such task")
        with pytest.raises(InputError, match=f"{family.title} does not answer .*{re.escape(why)}"):
            asked_of_frame(family, request)
    else:
        task = family.video_answers(Classes)[0]
        assert asked_of_frame(family, request) == Classes(("a", "b"), task, (True, False))


def test_nothing_asked_is_refused() -> None:
    with pytest.raises(RefusalError, match="nothing is asked"):
        asked_of(TALKER, Request(b"file", options=Options(stream="mine")))


def test_options_reach_what_they_are_for() -> None:
    options = Options(max_tokens=3, temperature=0.5, seed=1, things=(True, False))
    request = Request(b"file", ("a",), ("b", "c"), "d?", options)
    question, expressions, classes = asked_of(TALKER, request)
    assert question == Question("d?", Sampling(0.5, 1.0, 1), 3, TALKER.answers(Question)[0])
    assert expressions == Expressions(("a",), TALKER.answers(Expressions)[0], 3)
    assert classes == Classes(("b", "c"), TALKER.answers(Classes)[0], (True, False))


@pytest.mark.parametrize(("limit", "sent", "expected"), [(512, None, None), (128, None, None), (4, None, 4), (4, 3, 3)])
def test_the_longest_answer_binds_who_names_none(limit: int, sent: int | None, expected: int | None) -> None:
    """What is within the families' default is left to it: it is less where the context ends."""
    request = Request(b"file", ("a",), question="a?", options=Options(max_tokens=sent))
    question, expressions = asked_of(TALKER, bounded(request, Limits(max_answer_tokens=limit)))
    assert isinstance(question, Question) and isinstance(expressions, Expressions)
    assert question.max_tokens == expressions.max_tokens == expected


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_least_score_of_what_has_no_scores_is_refused(family: FamilySpec) -> None:
    for task in (one for one in family.tasks if one.request is Classes):
        request = Request(b"file", classes=("a",), options=Options(task=task.name, min_score=0.5))
        if task.scored:
            assert asked_of(family, request) == [Classes(("a",), task.name)]
        else:
            with pytest.raises(InputError, match=f"the task {task.name} gives no scores.*choose the task"):
                asked_of(family, request)


def test_a_task_goes_to_the_requests_that_have_it() -> None:
    second = TALKER.answers(Expressions)[1]
    question, expressions = asked_of(TALKER, Request(b"file", ("a",), question="d?", options=Options(task=second)))
    assert (question.task, expressions.task) == (TALKER.answers(Question)[0], second)
    with pytest.raises(InputError, match=f"unknown task {second!r}"):
        asked_of(TALKER, Request(question="d?", options=Options(task=second)))


@pytest.mark.parametrize(("classes", "things"), [(("a", "a"), None), (("a", "b"), (True,))])
def test_class_lists_that_are_none(classes: tuple[str, ...], things: tuple[bool, ...] | None) -> None:
    with pytest.raises(InputError):
        asked_of(TALKER, Request(b"file", classes=classes, options=Options(things=things)))
