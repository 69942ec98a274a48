"""Asking a model everything about one sample."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hyperseg_bench.quality.asks.ask import Ask
from hyperseg_bench.quality.metrics.stored_masks import StoredMasks
from hyperseg_bench.quality.samples import Row, Sample
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Request
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import VIDEO, FamilySpec, FrameResults
from hyperseg_runtime.images.reading import ImageSource
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_runtime.session.video_session import VideoSession


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
    try:
        return [_row(pipeline.family, ask, tasks.get(ask.name), results) for ask in sample.asks]
    except (ValueError, IndexError) as error:  # what the metrics say of arrays that do not fit each other
        raise InputError(f"sample {sample.key!r}: its truth does not fit its picture ({error})") from error


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
    masks = {ask.name: StoredMasks() for ask in asks}
    for ready in _seen(pipeline.open_video(), sample.frames, Expressions(texts, task)):
        for stored, result in zip(masks.values(), ready.results, strict=True):
            if not isinstance(result, Instances):
                raise ValueError(f"expected instances, got a {result.kind} result in the task {task}")
            stored.append(result.mask)
    return {name: (stored,) for name, stored in masks.items()}


def _seen(video: VideoSession, frames: Sequence[ImageSource], request: Expressions) -> Iterator[FrameResults]:
    """Results of one frame after another."""
    for frame in frames:
        yield from video.push(frame, request)
    yield from video.finish()


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
