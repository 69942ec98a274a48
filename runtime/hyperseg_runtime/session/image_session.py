"""One image, many requests."""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np

from hyperseg_runtime.contracts.results import SegmentationResult
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import FamilyModel, FamilySpec, ImageState
from hyperseg_runtime.llm.answers import Answer
from hyperseg_runtime.llm.sampling import GREEDY, Sampling
from hyperseg_runtime.session.image_cache import TEXT_ALONE, ImageCache, image_key
from hyperseg_runtime.timing import Stopwatch

NAMING_INSTRUCTION = "Name the objects in this image, separated by commas."


@dataclass
class Shared:
    """What all sessions of a pipeline have in common."""

    family: FamilySpec
    model: FamilyModel[Any]
    images: ImageCache
    lock: Lock = field(default_factory=Lock)
    closed: bool = False


class ImageSession:
    """Requests about one image (or about text alone); all but the first reuse what depends on the image.

    Made by `Pipeline.open`. Requests of several sessions and threads are served one after another. Close it,
    or use it as a context manager; one that is merely dropped gives its image back at a later request.
    """

    def __init__(self, shared: Shared, image_hwc_u8: np.ndarray | None) -> None:
        self._shared = shared
        self._key = image_key(image_hwc_u8)
        with shared.lock:
            self._state: ImageState | None = shared.images.acquire(self._key, lambda: shared.model.open(image_hwc_u8))
        self._dropped = weakref.finalize(self, shared.images.abandon, self._key)

    def segment(self, text: str, task: str | None = None) -> SegmentationResult:
        """The best mask of what `text` names. Raises PromptError for text that cannot be used."""
        return self.segment_many([text], task)[0]

    def segment_many(self, texts: Sequence[str], task: str | None = None) -> list[SegmentationResult]:
        """`segment` for each text, as many at once in the language model as its context holds.

        Their `timings_ms` are those of the whole call.
        """
        if isinstance(texts, str):
            raise InputError("segment_many takes a list of texts; for one text there is segment")
        known = self._shared.family.segmentation_tasks
        task = task or known[0]
        if task not in known:
            raise InputError(f"unknown task {task!r}; {self._shared.family.title} knows {', '.join(known)}")
        with self._in_use() as state:
            self._need_image()
            return self._shared.model.segment(state, texts, task, Stopwatch())

    def segment_classes(self, class_names: Sequence[str], min_score: float = 0.0) -> list[SegmentationResult]:
        """One result for each class whose score reaches `min_score`, best first; see `results.label_map`.

        Each name is asked as an expression: the release has no way from a list of classes to masks
        (hyperseg-spec 9). Raises PromptError for a name that cannot be used.
        """
        if isinstance(class_names, str):
            raise InputError("segment_classes takes a list of names; for one text there is segment")
        twice = sorted({name for name in class_names if list(class_names).count(name) > 1})
        if twice:
            raise InputError(f"the class list holds {', '.join(twice)} more than once")
        found = [result for result in self.segment_many(class_names) if result.score >= min_score]
        return sorted(found, key=lambda result: -result.score)

    def name_then_segment(
        self, instruction: str = NAMING_INSTRUCTION, max_tokens: int | None = None
    ) -> list[SegmentationResult]:
        """The paper's hybrid entity recognition: the model names objects, then masks each of them.

        The released checkpoint was not trained for it. Raises PromptError if nothing was named.
        """
        with self._in_use() as state:
            self._need_image()
            return self._shared.model.name_then_segment(state, instruction, max_tokens, Stopwatch())

    def ask(self, question: str, sampling: Sampling = GREEDY, max_tokens: int | None = None) -> Answer:
        """Iterate over the answer for its text, piece by piece; other requests may run between two pieces.

        `max_tokens`: None for at most 128, less where the context ends. Raises PromptError for a question that
        cannot be used or does not fit with its answer.
        """
        with self._in_use() as state:
            answer = self._shared.model.ask(state, question, sampling, max_tokens)
        return answer.guarded(self._in_use)

    def _need_image(self) -> None:
        if self._key == TEXT_ALONE:
            raise InputError("the session is about text alone: there is no image to segment")

    @contextmanager
    def _in_use(self) -> Iterator[ImageState]:
        with self._shared.lock:
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
        with self._shared.lock:
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
