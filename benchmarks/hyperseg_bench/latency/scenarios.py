"""What is timed: a scenario for each kind of request that a family may declare. None of them knows a family.

A round is one request. The text of a round depends on its scenario and number alone, so that all rivals, and two runs,
are asked the same, whatever else they are asked. No text comes twice, so that nothing is remembered that a user would
not have remembered.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from hyperseg_bench.latency.class_names import STUFF, THINGS
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import VIDEO, FamilySpec, VideoRequest
from hyperseg_runtime.session.pipeline import Pipeline

ADJECTIVES = ("red", "small", "dark", "left", "large", "white", "old", "near", "blue", "round")
NOUNS = tuple(name for name in (*THINGS, *STUFF) if name.isalpha())
"""91 and 10: the pairs repeat after 910 texts."""
FIRST, BEFORE_NEXT, NEXT, TOGETHER_FROM = 0, 240, 250, 500
"""Where the texts of the scenarios begin; families remember up to 256."""
QUESTION = "What is in the picture?"
ANSWER_TOKENS = 16
TOGETHER = 8
PANOPTIC = "panoptic"
MOST_HELD = 64
"""Frames that a family may want to see before it answers any."""
REQUEST, FIRST_TOKEN, TOKEN = "request", "first token", "token"

Times = dict[str, float]
"""Metric -> milliseconds."""
Round = Callable[[int], Times]
Pictures = Sequence[np.ndarray]


@dataclass(frozen=True)
class Scenario:
    """`begin` prepares what is not timed; what it gives does one round.

    answered  by one request, for rates
    """

    name: str
    about: str
    kind: str
    begin: Callable[[Pipeline, Pictures], AbstractContextManager[Round]]
    answered: int = 1

    def lacking(self, family: FamilySpec) -> str:
        """Why the family does not do this; empty where it does."""
        known = {task.request.kind for task in family.tasks} | ({VIDEO} if family.video_tasks else set())
        return "" if self.kind in known else family.lacks.get(self.kind, f"{family.title} has no task for it")


def expression(number: int) -> str:
    """The text that has this number among all."""
    return f"the {ADJECTIVES[number % len(ADJECTIVES)]} {NOUNS[number % len(NOUNS)]}"


def class_list(family: FamilySpec, number: int) -> Classes:
    """COCO's classes, in another order for each number; as a map of things and stuff where the family makes one."""
    task = PANOPTIC if PANOPTIC in family.answers(Classes) else None
    names, turn = (*THINGS, *STUFF), number % (len(THINGS) + len(STUFF))
    things = [index < len(THINGS) for index in range(len(names))]
    return Classes((*names[turn:], *names[:turn]), task, things=(*things[turn:], *things[:turn]))


@contextmanager
def _first(pipeline: Pipeline, pictures: Pictures) -> Iterator[Round]:
    yield lambda number: _timed(lambda: _ask_new(pipeline, pictures, number, [expression(FIRST + number)]))


@contextmanager
def _next(pipeline: Pipeline, pictures: Pictures) -> Iterator[Round]:
    with pipeline.open(pictures[0], keep=False) as session:
        session.segment(expression(BEFORE_NEXT))
        yield lambda number: _timed(lambda: session.segment(expression(NEXT + number)))


@contextmanager
def _together(pipeline: Pipeline, pictures: Pictures) -> Iterator[Round]:
    def texts(number: int) -> list[str]:
        return [expression(TOGETHER_FROM + TOGETHER * number + index) for index in range(TOGETHER)]

    yield lambda number: _timed(lambda: _ask_new(pipeline, pictures, number, texts(number)))


@contextmanager
def _classes(pipeline: Pipeline, pictures: Pictures) -> Iterator[Round]:
    def ask(number: int) -> None:
        with pipeline.open(pictures[number % len(pictures)], keep=False) as session:
            session.run(class_list(pipeline.family, 0))

    yield lambda number: _timed(lambda: ask(number))


@contextmanager
def _next_classes(pipeline: Pipeline, pictures: Pictures) -> Iterator[Round]:
    with pipeline.open(pictures[0], keep=False) as session:
        session.run(class_list(pipeline.family, -1))
        yield lambda number: _timed(lambda: session.run(class_list(pipeline.family, number)))


@contextmanager
def _frame(pipeline: Pipeline, pictures: Pictures) -> Iterator[Round]:
    video = pipeline.open_video()
    first, later = _about_frames(pipeline.family, pictures[-1])
    answered = video.push(pictures[-1], first)  # it has no memory to start from
    held = 0
    while not answered:  # a family that looks ahead answers several at once before it answers one for each
        held += 1
        if held > MOST_HELD:
            raise InputError(f"{pipeline.family.title} answered none of {held} frames; leave frame out")
        answered = video.push(pictures[held % len(pictures)], later)
    yield lambda number: _timed(lambda: video.push(pictures[(held + number) % len(pictures)], later))
    video.finish()


def _about_frames(family: FamilySpec, picture: np.ndarray) -> tuple[VideoRequest, VideoRequest]:
    """What is asked of the first frame and of those that follow: an object by its name, or by where it is at first."""
    if family.video_answers(Expressions):
        return (Expressions((expression(0),)),) * 2
    height, width = picture.shape[:2]
    return Regions(boxes_xyxy=((width / 4, height / 4, 3 * width / 4, 3 * height / 4),)), Regions()


@contextmanager
def _chat(pipeline: Pipeline, pictures: Pictures) -> Iterator[Round]:
    def ask(number: int) -> Times:
        start = perf_counter()
        with pipeline.open(pictures[number % len(pictures)], keep=False) as session:
            answer = session.ask(QUESTION, max_tokens=ANSWER_TOKENS)
            next(answer, None)
            first = perf_counter()
            answer.finished()
            end = perf_counter()
        further = len(answer.token_ids) - 1
        times = {FIRST_TOKEN: 1000 * (first - start)}
        return times | ({TOKEN: 1000 * (end - first) / further} if further > 0 else {})

    yield ask


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("first", "an expression about a new image", Expressions.kind, _first),
        Scenario("next", "another expression about the same image", Expressions.kind, _next),
        Scenario(
            "classes",
            "COCO's 133 classes, a known list, about a new image",
            Classes.kind,
            _classes,
            len(THINGS) + len(STUFF),
        ),
        Scenario(
            "next-classes",
            "these classes in another order about the same image",
            Classes.kind,
            _next_classes,
            len(THINGS) + len(STUFF),
        ),
        Scenario("frame", "a frame of a video after the first", VIDEO, _frame),
        Scenario("chat", f"a question about a new image, at most {ANSWER_TOKENS} tokens", Question.kind, _chat),
        Scenario(
            "batch", f"{TOGETHER} expressions about a new image in one call", Expressions.kind, _together, TOGETHER
        ),
    )
}


def chosen(names: Sequence[str]) -> list[Scenario]:
    """Scenarios by their names, all for none. Raises InputError for a name that is none of theirs."""
    for name in names:
        if name not in SCENARIOS:
            raise InputError(f"unknown scenario {name!r}; choose {', '.join(SCENARIOS)}")
    return [SCENARIOS[name] for name in names or SCENARIOS]


def _ask_new(pipeline: Pipeline, pictures: Pictures, number: int, texts: Sequence[str]) -> None:
    with pipeline.open(pictures[number % len(pictures)], keep=False) as session:
        session.segment_many(texts)


def _timed(work: Callable[[], object]) -> Times:
    start = perf_counter()
    work()
    return {REQUEST: 1000 * (perf_counter() - start)}
