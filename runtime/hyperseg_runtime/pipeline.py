"""A bundle ready to be asked: the public entry of the runtime."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.bundle import Bundle
from hyperseg_runtime.errors import BundleError, InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.family_spec import FamilySpec
from hyperseg_runtime.image_io import MAX_PIXELS, ImageSource, load_image
from hyperseg_runtime.precision import Precision, typed_spec
from hyperseg_runtime.results import SegmentationResult
from hyperseg_runtime.timing import Stopwatch


class OpenedGraphs(Mapping[str, Graph]):
    """The graphs of a bundle, each opened when first asked for: a task pays only for what it runs."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._bundle = bundle
        self._backend = backend
        self._opened: dict[str, Graph] = {}

    def __getitem__(self, name: str) -> Graph:
        if name not in self._opened:
            entry = self._bundle.manifest.graph(name)
            self._opened[name] = self._backend.open(entry.spec, self._bundle.path(entry.file))
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return (entry.spec.name for entry in self._bundle.manifest.graphs)

    def __len__(self) -> int:
        return len(self._bundle.manifest.graphs)


class Pipeline:
    """`Pipeline.load(bundle)(image, "expression")` gives a SegmentationResult.

    Calls from several threads are served one after another. Close it, or use it as a context manager.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.bundle = bundle
        self.family = family_of(bundle)
        self._backend = backend
        self._model = self.family.open_model(bundle, OpenedGraphs(bundle, backend), backend)
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        backend: Backend | None = None,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> Self:
        """Verify a bundle folder and make it ready. Default backend: ONNX Runtime on the CPU.

        `on_bytes` is told how many bytes were verified. Raises BundleError.
        """
        from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend

        return cls(Bundle.open(bundle, on_bytes), backend or OnnxRuntimeBackend())

    def __call__(
        self, image: ImageSource, text: str, task: str | None = None, max_pixels: int = MAX_PIXELS
    ) -> SegmentationResult:
        """Segment what `text` names in `image` (a path, a PIL image or an RGB uint8 array).

        Raises ImageError and PromptError for input that cannot be used.
        """
        known = self.family.segmentation_tasks
        task = task or known[0]
        if task not in known:
            raise InputError(f"unknown task {task!r}; {self.family.title} knows {', '.join(known)}")
        pixels = load_image(image, max_pixels)
        with self._lock:
            return self._model.segment(pixels, text, task, Stopwatch())

    def close(self) -> None:
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def family_of(bundle: Bundle) -> FamilySpec:
    """The bundle's family; BundleError if it is unknown or its graphs are not the ones this program knows."""
    name = bundle.manifest.family
    if name not in FAMILIES:
        raise BundleError(f"the bundle is of family {name!r}; this program knows {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    try:
        expected = family.graph_specs(bundle.manifest.dimensions)
    except ValidationError as error:
        raise BundleError(f"the bundle's dimensions are not those of {family.title}: {error}") from error
    found = {entry.spec.name: entry.spec for entry in bundle.manifest.graphs}
    precisions = {entry.spec.name: entry.precision for entry in bundle.manifest.graphs}
    wanted = {spec.name: typed_spec(spec, precisions.get(spec.name, Precision.FP32)) for spec in expected}
    for name in sorted(wanted.keys() | found.keys()):
        if found.get(name) != wanted.get(name):
            raise BundleError(f"graph {name} of the bundle has another contract than this program; export it again")
    return family
