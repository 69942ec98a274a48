"""Requests in, responses out: what the public model does, without the server around it."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from hyperseg_runtime.contracts.results import SegmentationResult
from hyperseg_runtime.llm.sampling import Sampling
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.contract import Limits, StreamStep
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.requests import Request, open_image
from hyperseg_serving.service.responses import Response, masks_response
from hyperseg_serving.service.streams import Streams
from hyperseg_serving.service.turns import Turns

Cancelled = Callable[[], bool]


class Service:
    """Answers from several threads; the pipeline serves them piece by piece in the order they came."""

    def __init__(self, pipeline: Pipeline, limits: Limits, bundle_id: str) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._bundle_id = bundle_id
        self._turns = Turns()
        self.streams = Streams(pipeline.open_video, limits.max_streams, limits.stream_idle_s)

    def respond(self, request: Request, cancelled: Cancelled) -> Iterator[Response]:
        """Pieces of the answer to a question as they are made, and the result last.

        `cancelled` is asked before every part of the work. Raises RefusalError and what the pipeline raises.
        """
        budget = _Budget(cancelled, request.options.timeout_ms)
        budget.check()
        content: dict[str, Any] = {}
        found: list[SegmentationResult] = []
        if request.stream:
            found = self._frame(request, request.stream, budget)
        else:
            image = None if request.image is None else open_image(request.image, self._limits)
            with self._pipeline.open(image) as session:
                if request.question is not None:
                    content["answer"] = yield from self._answer(session, request.question, request, budget)
                found = self._masks(session, request, budget)
        content |= {"bundle": self._bundle_id, "total_ms": round(budget.spent_ms, 3)}
        yield masks_response(found, content, request.options.png)

    def close(self) -> None:
        self._pipeline.close()

    def _answer(
        self, session: ImageSession, question: str, request: Request, budget: "_Budget"
    ) -> Generator[Response, None, dict[str, Any]]:
        options = request.options
        sampling = Sampling(options.temperature, options.top_p, options.seed)
        with self._turn(budget):
            answer = session.ask(question, sampling, options.max_tokens)
        while answer.finish is None:
            with self._turn(budget):
                piece = next(answer, "")
            if piece:
                yield Response(piece=piece)
        return {"text": answer.text, "finish": answer.finish, "tokens": len(answer.token_ids)}

    def _masks(self, session: ImageSession, request: Request, budget: "_Budget") -> list[SegmentationResult]:
        found: list[SegmentationResult] = []
        if request.texts:
            with self._turn(budget):
                found += session.segment_many(request.texts, request.options.task)
        if request.classes:
            with self._turn(budget):
                found += session.segment_classes(request.classes, request.options.min_score)
        return found

    def _frame(self, request: Request, step: StreamStep, budget: "_Budget") -> list[SegmentationResult]:
        frame = open_image(request.need_image(), self._limits)
        with self.streams.session(step) as video, self._turn(budget):
            return video.segment_many(frame, request.texts)

    @contextmanager
    def _turn(self, budget: "_Budget") -> Iterator[None]:
        with self._turns.next():
            budget.check()
            yield


class _Budget:
    """Whether work for a request may go on."""

    def __init__(self, cancelled: Cancelled, timeout_ms: int | None) -> None:
        self._cancelled = cancelled
        self._timeout_ms = timeout_ms
        self._start = time.perf_counter()

    @property
    def spent_ms(self) -> float:
        return (time.perf_counter() - self._start) * 1000

    def check(self) -> None:
        if self._cancelled():
            raise RefusalError(Reason.CANCELLED, "the caller went away or cancelled")
        if self._timeout_ms is not None and self.spent_ms > self._timeout_ms:
            raise RefusalError(Reason.TIMEOUT, f"not done after {self._timeout_ms} ms; ask for less or allow more")
