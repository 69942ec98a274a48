"""What a model family tells the rest of the runtime: data and a few functions, no inheritance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.results import SegmentationResult
from hyperseg_runtime.llm.answers import Answer
from hyperseg_runtime.llm.sampling import Sampling
from hyperseg_runtime.timing import Stopwatch


class ImageState(Protocol):
    """What a model keeps of one image between requests. What may be kept is the family's own rule."""

    @property
    def size_bytes(self) -> int:
        """Memory held now; grows as parts are computed."""
        ...


State = TypeVar("State", bound=ImageState)


class FamilyModel(Protocol[State]):
    """A family opened on a bundle. Requests check their text, raising PromptError, before any work."""

    def open(self, image_hwc_u8: np.ndarray | None) -> State:
        """State of an image, or of text alone (None); nothing is computed yet."""
        ...

    def segment(self, image: State, texts: Sequence[str], task: str, stopwatch: Stopwatch) -> list[SegmentationResult]:
        """One result for each text."""
        ...

    def name_then_segment(
        self, image: State, instruction: str, max_tokens: int | None, stopwatch: Stopwatch
    ) -> list[SegmentationResult]:
        """One result for each name the language model answers with."""
        ...

    def segment_frame(
        self, frame_hwc_u8: np.ndarray, texts: Sequence[str], memory: Any, stopwatch: Stopwatch
    ) -> tuple[list[SegmentationResult], Any]:
        """One result for each text in a video's next frame, and the memory for the frame after it.

        `memory` is what the frame before gave, None for the first. It stays valid for the pipeline's life.
        """
        ...

    def ask(self, image: State, question: str, sampling: Sampling, max_tokens: int | None) -> Answer:
        """An answer that is computed while it is iterated."""
        ...

    def exercise(self, image_hwc_u8: np.ndarray) -> None:
        """Run every graph at least once as real requests do: for parity checks, warm-up and benchmarks."""
        ...


@dataclass(frozen=True)
class FamilySpec:
    name: str
    title: str
    paper: str
    licence: str
    """What the published weights are under, as their authors state it."""
    segmentation_tasks: tuple[str, ...]
    """Prompts that `segment` knows; the first is the default."""
    graph_specs: Callable[[Mapping[str, Any]], tuple[GraphSpec, ...]]
    """From the manifest's dimensions; raises pydantic.ValidationError when they are not this family's."""
    open_model: Callable[[Bundle, Mapping[str, Graph], Backend], FamilyModel[Any]]
    published: Mapping[str, Any]
    """Dimensions of the published model, as a manifest holds them."""
    image_inputs: Callable[[Bundle], Callable[[np.ndarray], dict[str, np.ndarray]]]
    """Opened on a bundle: RGB (H, W, 3) uint8 -> the inputs of the image graphs that no other graph makes."""
