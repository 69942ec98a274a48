"""Asking a model everything about one sample."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hyperseg_bench.quality.asks.ask import Ask
from hyperseg_bench.quality.samples import Row, Sample
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Request
from hyperseg_runtime.families.family import VIDEO, FamilySpec
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline


def answered(pipeline: Pipeline, sample: Sample) -> list[Row]:
    """A row for every ask, in order; what the family does not answer is left out with its reason.

    Expressions in one task go to the model together, which packs as many as it can.
    """
    tasks = {ask.name: task for ask in sample.asks if (task := task_for(pipeline.family, ask)) is not None}
    results: dict[str, Sequence[Any]] = {}
    chosen = [ask for ask in sample.asks if ask.name in tasks]
    of_video = [ask for ask in chosen if ask.about_video]
    of_image = [ask for ask in chosen if not ask.about_video]
    if of_image:
        (frame,) = sample.frames
        with pipeline.open(frame) as session:
            for task in dict.fromkeys(tasks[ask.name] for ask in of_image):
                results |= _of_image(session, [ask for ask in of_image if tasks[ask.name] == task], task)
    for task in dict.fromkeys(tasks[ask.name] for ask in of_video):
        results |= _of_clip(pipeline, sample, [ask for ask in of_video if tasks[ask.name] == task], task)
    return [_row(pipeline.family, ask, tasks.get(ask.name), results) for ask in sample.asks]


def task_for(family: FamilySpec, ask: Ask) -> str | None:
    """The best task for it that the family has, or None."""
    kind = type(ask.request)
    names = [task.name for task in family.video_tasks if task.request is kind] if ask.about_video else []
    names = names if ask.about_video else list(family.answers(kind))
    wanted = [name for name in ask.tasks if name in names]
    return next(iter([*wanted, *names]), None)


def _of_image(session: ImageSession, asks: Sequence[Ask], task: str) -> dict[str, Sequence[Any]]:
    requests = {ask.name: replace(ask.request, task=task) for ask in asks}
    texts = {
        name: text for name, request in requests.items() if isinstance(request, Expressions) for text in request.texts
    }
    masks = session.run(Expressions(tuple(texts.values()), task)) if texts else []
    found: dict[str, Sequence[Any]] = {name: (mask,) for name, mask in zip(texts, masks, strict=True)}
    for name, request in requests.items():
        if isinstance(request, Question):
            found[name] = (session.ask(request).finished().text,)
        elif not isinstance(request, Expressions):
            found[name] = session.run(request)
    return found


def _of_clip(pipeline: Pipeline, sample: Sample, asks: Sequence[Ask], task: str) -> dict[str, Sequence[Any]]:
    texts = tuple(text for ask in asks if isinstance(ask.request, Expressions) for text in ask.request.texts)
    video = pipeline.open_video()
    request = Expressions(texts, task)
    ready = [found for frame in sample.frames for found in video.push(frame, request)] + video.finish()
    of_asks = zip(*(found.results for found in ready), strict=True)
    return {ask.name: frames for ask, frames in zip(asks, of_asks, strict=True)}


def _row(family: FamilySpec, ask: Ask, task: str | None, results: dict[str, Sequence[Any]]) -> Row:
    row: Row = {"ask": ask.name, "measure": ask.measure, "kind": ask.kind, "asked": _asked(ask.request)}
    if task is None:
        lacking = VIDEO if ask.about_video else ask.request.kind
        return {**row, "left_out": f"{family.title}: {family.lacks.get(lacking, 'it has no such task')}"}
    return {**row, "task": task, **ask.score(results[ask.name])}


def _asked(request: Request) -> str:
    match request:
        case Question(text=text):
            return text
        case Expressions(texts=texts):
            return ", ".join(texts)
        case Classes(names=names):
            return f"{len(names)} classes"
    return request.kind
