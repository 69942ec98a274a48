"""One image, many requests."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from hyperseg_runtime.calls.timing import recorded
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, SegmentationRequest
from hyperseg_runtime.contracts.results import Instances, Result
from hyperseg_runtime.contracts.sampling import GREEDY, Sampling
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import FamilySpec, ImageState
from hyperseg_runtime.llm.answers import Answer
from hyperseg_runtime.session.device_turn import DeviceTurn
from hyperseg_runtime.session.image_cache import TEXT_ALONE, ImageCache


@dataclass
class Shared:
    """What all sessions of a pipeline have in common."""

    family: FamilySpec
    model: Any
    """A Segmenter, and whatever else the family declares (see `families.family`)."""
    images: ImageCache
    turn: DeviceTurn = field(default_factory=DeviceTurn)
    closed: bool = False
    states: WeakValueDictionary[str, Lock] = field(default_factory=WeakValueDictionary)
    """For sessions that share a state: one of them works with it at a time."""


class ImageSession:
    """Requests about one image (or about text alone); all but the first reuse what depends on the image.

    Made by `Pipeline.open`. Requests of several threads take turns, those about one image one after another. Close it,
    or use it as a context manager; one that is merely dropped gives its image back at a later request.
    """

    def __init__(self, shared: Shared, key: str, make: Callable[[], ImageState]) -> None:
        """`key` is equal for sessions that share a state, which `make` makes if there is none."""
        self._shared = shared
        self._key = key
        with shared.turn.held():
            self._state: ImageState | None = shared.images.acquire(key, make)
            self._alone = shared.states.setdefault(key, Lock())
        self._dropped = weakref.finalize(self, shared.images.abandon, self._key)

    def run(self, request: SegmentationRequest) -> list[Result]:
        """Whatever the family answers; `Expressions` and `Regions` give one result for each, `Classes` one for all.

        The `timings_ms` of every result are those of the whole call. Raises InputError for a request or task that the
        family does not know, PromptError for text that cannot be used.
        """
        asked = self._shared.family.with_task(request)
        with self._in_use() as state, recorded() as spans_ms:
            if self._key == TEXT_ALONE:
                raise InputError("the session is about text alone: there is no image to segment")
            results = self._shared.model.segment(state, asked)
        return [result.timed(spans_ms) for result in results]

    def segment(self, text: str, task: str | None = None) -> Instances:
        """What `text` refers to, best mask first. Raises as `run`."""
        return self.segment_many([text], task)[0]

    def segment_many(self, texts: Sequence[str], task: str | None = None) -> list[Instances]:
        """`segment` for each text, as many at once as the model can."""
        found = self.run(Expressions.of(texts, task))
        return [result for result in found if isinstance(result, Instances)]

    def segment_classes(
        self,
        names: Sequence[str],
        task: str | None = None,
        things: Sequence[bool] | None = None,
        min_score: float = 0.0,
    ) -> Result:
        """Whatever belongs to one of the classes: instances or a panoptic map of what scores `min_score` or more, or a
        semantic map, as the task has it. Raises InputError, before the work, for a `min_score` of what has no scores.
        """
        request = self._shared.family.with_task(Classes.of(names, task, things))
        self._shared.family.require_scores(request, min_score)
        (result,) = self.run(request)
        return result.at_least(min_score)

    def ask(self, question: str | Question, sampling: Sampling = GREEDY, max_tokens: int | None = None) -> Answer:
        """Iterate over the answer for its text, piece by piece; other requests may run between two pieces.

        `max_tokens`: None for the family's default, less where the context ends. Raises InputError where the family
        answers no questions, PromptError for a question that cannot be used or does not fit with its answer.
        """
        asked = question if isinstance(question, Question) else Question(question, sampling, max_tokens)
        asked = self._shared.family.with_task(asked)
        with self._in_use() as state:
            answer: Answer = self._shared.model.ask(state, asked)
        return answer.guarded(self._in_use)

    @contextmanager
    def _in_use(self) -> Iterator[ImageState]:
        with self._alone, self._shared.turn.held():
            if self._shared.closed:
                self._state = None
                raise InputError("the pipeline of this session is closed; load the bundle again")
            if self._state is None:
                raise InputError("the session is closed; open the image again")
            try:
                yield self._state
            finally:
                self._shared.images.trim()

    def close(self) -> None:
        """Give the image's state back; it may be reused until memory is needed."""
        with self._shared.turn.held():
            if self._state is not None:
                self._state = None
                self._dropped.detach()
                self._shared.images.release(self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
