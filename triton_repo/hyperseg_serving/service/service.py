"""Requests in, responses out: what the public model does, without the server around it."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from hyperseg_runtime.contracts.requests import Classes, Question, SegmentationRequest
from hyperseg_runtime.contracts.results import Instances, Result
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.contract import Limits, StreamStep
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.asked import asked_of, asked_of_frame
from hyperseg_serving.service.fair_lock import FairLock
from hyperseg_serving.service.requests import Request, open_image
from hyperseg_serving.service.responses import Response, frames_response, result_response
from hyperseg_serving.service.streams import Streams

Cancelled = Callable[[], bool]


class Service:
    """Answers from several threads; the pipeline serves them piece by piece in the order they came."""

    def __init__(self, pipeline: Pipeline, limits: Limits, bundle_id: str) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._bundle_id = bundle_id
        self._lock = FairLock()
        self.streams = Streams(pipeline.open_video, limits.max_streams, limits.stream_idle_s)

    def respond(self, request: Request, cancelled: Cancelled) -> Iterator[Response]:
        """Pieces of the answer to a question as they are made, and the result last.

        `cancelled` is asked before every part of the work. Raises RefusalError and what the pipeline raises.
        """
        budget = _Budget(cancelled, request.options.timeout_ms)
        budget.check()
        png = request.options.png
        if request.stream:
            found = self._frame(request, request.stream, budget)
            yield frames_response(found, self._about(budget), png)
            return
        asked = asked_of(self._pipeline.family, request)
        image = None if request.image is None else open_image(request.image, self._limits)
        with self._pipeline.open(image, keep=request.options.remember) as session:
            answer: dict[str, Any] = {}
            results: list[Result] = []
            for one in asked:
                if isinstance(one, Question):
                    answer["answer"] = yield from self._answer(session, one, budget)
                else:
                    results += self._segment(session, one, request.options.min_score, budget)
        yield result_response(results, answer | self._about(budget), png)

    def close(self) -> None:
        self._pipeline.close()

    def _about(self, budget: "_Budget") -> dict[str, Any]:
        return {"bundle": self._bundle_id, "total_ms": round(budget.spent_ms, 3)}

    def _answer(
        self, session: ImageSession, question: Question, budget: "_Budget"
    ) -> Generator[Response, None, dict[str, Any]]:
        with self._working(budget):
            answer = session.ask(question)
        while answer.finish is None:
            with self._working(budget):
                piece = next(answer, "")
            if piece:
                yield Response(piece=piece)
        return {"text": answer.text, "finish": answer.finish, "tokens": len(answer.token_ids)}

    def _segment(
        self, session: ImageSession, asked: SegmentationRequest, min_score: float, budget: "_Budget"
    ) -> list[Result]:
        with self._working(budget):
            found = session.run(asked)
        if not isinstance(asked, Classes):
            return found
        return [result.at_least(min_score) if isinstance(result, Instances) else result for result in found]

    def _frame(self, request: Request, step: StreamStep, budget: "_Budget") -> list[FrameResults]:
        asked = asked_of_frame(self._pipeline.family, request)
        frame = open_image(request.need_image(), self._limits)
        with self.streams.session(step) as video, self._working(budget):
            found = video.push(frame, asked)
            return found + video.finish() if step.end else found

    @contextmanager
    def _working(self, budget: "_Budget") -> Iterator[None]:
        """Alone with the pipeline."""
        with self._lock:
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
