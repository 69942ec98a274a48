"""Requests in, responses out: what the public model does, without the server around it."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from hyperseg_runtime.calls.stopping import stoppable
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions, SegmentationRequest
from hyperseg_runtime.contracts.requests import Request as FamilyRequest
from hyperseg_runtime.contracts.results import Instances, Result, joined
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.contract import Limits, Options, StreamStep
from hyperseg_serving.service.asked import asked_of, asked_of_frame, bounded, with_pictures
from hyperseg_serving.service.budget import Budget
from hyperseg_serving.service.decoded import CAPACITY_BYTES, DecodedImages
from hyperseg_serving.service.requests import Request, marked_pixels, open_image
from hyperseg_serving.service.responses import Response, frames_response, result_response
from hyperseg_serving.service.streams import Streams
from hyperseg_serving.service.turns import Flow, Turns

TURN_MASK_PIXELS = 4_000_000
TURN_TEXTS = 8
"""One turn makes the masks of at most so many texts, which have so many pixels together, or the mask of one text. More
texts in a call of the language model save little (benchmarks/results/llm.json: 7 % for two)."""
CANARY_SIDE_PX = 32


class Service:
    """Answers from several threads; they take turns with the pipeline (see `Turns`), piece by piece."""

    def __init__(self, pipeline: Pipeline, limits: Limits, bundle_id: str) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._bundle_id = bundle_id
        self._decoded = DecodedImages(min(CAPACITY_BYTES, limits.cache_bytes))
        self.turns = Turns()
        self.streams = Streams(pipeline.open_video, limits.max_streams, limits.stream_idle_s)

    def check(self, request: Request) -> bool:
        """Refuse in the family's words what it does not answer, before the request waits for anything.

        Gives whether the model writes words for the request.
        """
        family = self._pipeline.family
        if request.stream:
            asked_of_frame(family, request)
            return False
        return any(map(family.writes, self._asked(request)))

    def respond(self, request: Request, budget: Budget, flow: Flow) -> Iterator[Response]:
        """Pieces of the answer to a question as they are made, and the result last. `flow` is one of `turns`.

        The budget is asked before every part of the work and inside. Raises RefusalError and what the pipeline raises.
        """
        budget.check()
        work = _Work(self.turns, flow, budget)
        if request.stream:
            yield self._frame(request, request.stream, work)
            return
        options = request.options
        asked = self._asked(request)
        for one in asked:  # a bad text behind a question is refused before the answer
            self._pipeline.check(one, with_image=request.image is not None)
        pixels, key = self._pixels(request.image, options, budget)
        if pixels is not None:
            shown = partial(self._with_pictures, request=request, pixels=pixels, budget=budget)
            asked = [shown(one) if isinstance(one, Regions) else one for one in asked]
        owner = options.cache_key or ""
        with work.session(lambda: self._pipeline.open(pixels, keep=options.remember, owner=owner, key=key)) as session:
            answer: dict[str, Any] = {}
            results: list[Result] = []
            for one in asked:
                if isinstance(one, Question):
                    answer["answer"] = yield from self._answer(session, one, work)
                elif pixels is not None:  # `parse_request` refuses what is to be segmented without an image
                    results += self._segment(session, one, options.min_score, pixels, work)
            yield self._response(request, results, budget, answer)

    def canary(self) -> Response:
        """What the family says is a small request that ends in masks, about noise of which nothing is kept. Its turn
        is the next, whoever else waits.
        """
        noise = np.random.default_rng().integers(0, 256, (CANARY_SIDE_PX, CANARY_SIDE_PX, 3), np.uint8)
        asked = next(one for one in self._pipeline.family.warm_up if not isinstance(one, Question))
        with (
            self.turns.flow(first=True) as flow,
            self.turns.turn(flow),
            self._pipeline.open(noise, keep=False) as session,
        ):
            return result_response(session.run(asked), {"bundle": self._bundle_id})

    def close(self) -> None:
        self._pipeline.close()

    def _asked(self, request: Request) -> list[FamilyRequest]:
        return asked_of(self._pipeline.family, bounded(request, self._limits))

    def _pixels(self, image: bytes | None, options: Options, budget: Budget) -> tuple[np.ndarray | None, str | None]:
        """Pixels and, where they are remembered, their key."""
        if image is None:
            return None, None
        decode = partial(self._decode, image, budget)
        return self._decoded.open(image, options.cache_key or "", decode) if options.remember else (decode(), None)

    def _decode(self, image: bytes, budget: Budget) -> np.ndarray:
        with stoppable(budget.over):
            return open_image(image, self._limits)

    def _with_pictures(self, asked: Regions, request: Request, pixels: np.ndarray, budget: Budget) -> Regions:
        opened = partial(marked_pixels, image_hw=pixels.shape[:2], limits=self._limits)
        with stoppable(budget.over):
            return with_pictures(asked, request.regions, opened)

    def _response(self, request: Request, results: list[Result], budget: Budget, about: Mapping[str, Any]) -> Response:
        told = [_told(result, request) for result in results]
        with stoppable(budget.over):
            return result_response(told, {**about, **self._about(budget)}, request.options.png)

    def _about(self, budget: Budget) -> dict[str, Any]:
        return {"bundle": self._bundle_id, "total_ms": round(budget.spent_ms, 3)}

    def _answer(
        self, session: ImageSession, question: Question, work: "_Work"
    ) -> Generator[Response, None, dict[str, Any]]:
        with work.turn():
            answer = session.ask(question)
        while answer.finish is None:
            with work.turn():
                piece = next(answer, "")
            if piece:
                yield Response(piece=piece)
        return {"text": answer.text, "finish": answer.finish, "tokens": len(answer.token_ids)}

    def _segment(
        self, session: ImageSession, asked: SegmentationRequest, min_score: float, pixels: np.ndarray, work: "_Work"
    ) -> list[Result]:
        """In as many turns as the request has parts."""
        found: list[Result] = []
        timings_ms: dict[str, float] = {}
        for part in self._parts(asked, pixels.shape[0] * pixels.shape[1]):
            with work.turn():
                results = session.run(part)
            for stage, spent_ms in results[0].timings_ms.items():
                timings_ms[stage] = timings_ms.get(stage, 0.0) + spent_ms
            if isinstance(asked, Classes):
                results = [one.at_least(min_score) for one in results]
            found += results
        if isinstance(asked, Classes) and len(found) > 1:
            lists = [one for one in found if isinstance(one, Instances)]
            found = [joined(lists, asked.names, lists[0].task, pixels.shape[:2])]
        return [result.timed(timings_ms) for result in found]

    def _parts(self, asked: SegmentationRequest, pixels: int) -> list[SegmentationRequest]:
        """What each turn does of a request whose texts or classes are answered one by one."""
        size = min(max(1, TURN_MASK_PIXELS // pixels), TURN_TEXTS)
        if self._pipeline.family.writes(asked):
            size = 1
        match asked:
            case Expressions(texts=texts):
                return [replace(asked, texts=texts[start : start + size]) for start in range(0, len(texts), size)]
            case Classes(names=names) if self._pipeline.family.task_of(asked).apart:
                return [_some(asked, slice(start, start + size)) for start in range(0, len(names), size)]
        return [asked]

    def _frame(self, request: Request, step: StreamStep, work: "_Work") -> Response:
        asked = asked_of_frame(self._pipeline.family, request)
        self._pipeline.check(asked)
        frame = self._decode(request.need_image(), work.budget)
        if isinstance(asked, Regions):
            asked = self._with_pictures(asked, request, frame, work.budget)
        with work.turn(), self.streams.session(step) as (name, video):
            found = video.push(frame, asked)
            found += video.finish() if step.end else []
        told = [replace(ready, results=tuple(_told_of_frame(one, request) for one in ready.results)) for ready in found]
        return frames_response(told, {"stream": name, **self._about(work.budget)}, request.options.png)


class _Work:
    """One request's turns with the pipeline, in which it can be stopped."""

    def __init__(self, turns: Turns, flow: Flow, budget: Budget) -> None:
        self.budget = budget
        self._turns = turns
        self._flow = flow

    @contextmanager
    def turn(self) -> Iterator[None]:
        self.budget.check()
        with self._turns.turn(self._flow, self.budget.check), stoppable(self.budget.over):
            yield

    @contextmanager
    def session(self, opened: Callable[[], ImageSession]) -> Iterator[ImageSession]:
        """Opened and closed in turns of their own: both would wait for whoever has the pipeline."""
        with self.turn():
            session = opened()
        try:
            yield session
        finally:
            with self._turns.turn(self._flow):
                session.close()


def _some(asked: Classes, which: slice) -> Classes:
    """Some classes of a list."""
    return replace(asked, names=asked.names[which], things=None if asked.things is None else asked.things[which])


REUSED = "reused_tokens"


def _told_of_frame(result: Result, request: Request) -> Result:
    """The objects of a list from `min_score` on; what is left out is followed all the same."""
    if request.classes:
        result = result.at_least(request.options.min_score)
    return _told(result, request)


def _told(result: Result, request: Request) -> Result:
    """Without a cache key of its own a caller is not told what was reused: it may be of an image that another sent."""
    if request.options.cache_key is not None or REUSED not in result.details:
        return result
    return replace(result, details={name: value for name, value in result.details.items() if name != REUSED})
