"""What a model family tells the rest of the runtime: data and a few functions, no inheritance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.bundle import Bundle
from hyperseg_runtime.graph_spec import GraphSpec
from hyperseg_runtime.results import SegmentationResult
from hyperseg_runtime.timing import Stopwatch


class FamilyModel(Protocol):
    """A family opened on a bundle."""

    def segment(self, image_hwc_u8: np.ndarray, text: str, task: str, stopwatch: Stopwatch) -> SegmentationResult:
        """Raises PromptError for text that cannot be asked."""
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
    open_model: Callable[[Bundle, Mapping[str, Graph], Backend], FamilyModel]
