"""A bundle ready to be asked: the public entry of the runtime."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.backends.by_name import make_backend
from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.precision import Precision, typed_spec
from hyperseg_runtime.contracts.requests import Request
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import BundleError, InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import VIDEO, FamilySpec
from hyperseg_runtime.files.hashing import hash_file, remembered_hash
from hyperseg_runtime.images.reading import MAX_PIXELS, ImageSource, load_image
from hyperseg_runtime.session.image_cache import ImageCache, image_key, new_key
from hyperseg_runtime.session.image_session import ImageSession, Shared
from hyperseg_runtime.session.video_session import VideoSession

AT_ONCE = 2
"""Graphs that stay open where memory is short: for every token a language model and its head take turns."""


class OpenedGraphs(Mapping[str, Graph]):
    """The graphs of a bundle, each opened when first asked for: a task pays only for what it runs.

    With `at_once` no more stay open: the one that was asked for longest ago is closed first.
    """

    def __init__(self, bundle: Bundle, backend: Backend, at_once: int | None = None) -> None:
        self._bundle = bundle
        self._backend = backend
        self._at_once = at_once
        self._opened: OrderedDict[str, Graph] = OrderedDict()

    def __getitem__(self, name: str) -> Graph:
        if name not in self._opened:
            while self._at_once is not None and len(self._opened) >= self._at_once:
                self._opened.popitem(last=False)
            self._opened[name] = self._open(name)
        self._opened.move_to_end(name)
        return self._opened[name]

    def _open(self, name: str) -> Graph:
        entry = self._bundle.manifest.graph(name)
        return self._backend.open(entry.spec, self._bundle.path(entry.file))

    def clear(self) -> None:
        """Close all."""
        self._opened.clear()

    def __iter__(self) -> Iterator[str]:
        return (entry.spec.name for entry in self._bundle.manifest.graphs)

    def __len__(self) -> int:
        return len(self._bundle.manifest.graphs)


CACHE_BYTES = 1 << 30
"""Holds one image of HyperSeg-3B in float32 (0.96 GB with 1,280 cache slots)."""


class Pipeline:
    """`Pipeline.load(bundle)(image, "expression")` gives instances; `open(image)` a session.

    Calls from several threads take turns: on a device the work of one is handed over while another waits for its
    results (see `DeviceTurn`), on a host they are served one after another. Images are decoded outside of a turn.
    Close it, or use it as a context manager.
    """

    def __init__(
        self, bundle: Bundle, backend: Backend, cache_bytes: int = CACHE_BYTES, at_once: int | None = None
    ) -> None:
        """`at_once` graphs are open at a time; default: all that were asked for."""
        self.bundle = bundle
        self.family = family_of(bundle)
        self._backend = backend
        self._graphs = OpenedGraphs(bundle, backend, at_once)
        model = self.family.open_model(bundle, self._graphs, backend)
        self._shared = Shared(self.family, model, ImageCache(cache_bytes))

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        backend: str = "onnxruntime",
        on_bytes: Callable[[int], None] = lambda count: None,
        cache_bytes: int = CACHE_BYTES,
        low_memory: bool = False,
        verify_hashes: bool = False,
        **options: Any,
    ) -> Self:
        """Verify a bundle folder and make it ready on the backend of this name; never on another one.

        `on_bytes` is told how many bytes were verified. `cache_bytes` bounds what is kept of images that no
        open session uses: features and language model cache, so that asking again is quick; 0 keeps nothing.
        The hashes of large files that were checked before are remembered (see `files.hashing`), unless `verify_hashes`.
        With `low_memory` few graphs are open at once, and the backend saves memory, too, if it can be told to.
        `options` are the backend's (see `backends.by_name`). Raises BundleError, InputError for unknown options,
        EnvironmentMissingError where the backend lacks a package or device.
        """
        read = Bundle.read(bundle)
        with ExitStack() as opened:
            chosen = opened.enter_context(make_backend(backend, read, low_memory=low_memory, **options))
            require_runnable(read.manifest, chosen)
            checked = read.verified(on_bytes, hash_of=hash_file if verify_hashes else remembered_hash)
            pipeline = cls(checked, chosen, cache_bytes, AT_ONCE if low_memory else None)
            opened.pop_all()  # the pipeline closes it
        return pipeline

    def __call__(
        self, image: ImageSource, text: str, task: str | None = None, max_pixels: int = MAX_PIXELS
    ) -> Instances:
        """Segment what `text` refers to in `image` (a path, a PIL image or an RGB uint8 array).

        Raises ImageError and PromptError for input that cannot be used.
        """
        with self.open(image, max_pixels) as session:
            return session.segment(text, task)

    def open(
        self,
        image: ImageSource | None,
        max_pixels: int = MAX_PIXELS,
        keep: bool = True,
        owner: str = "",
        key: str | None = None,
    ) -> ImageSession:
        """A session about one image, or with None about text alone. Raises ImageError.

        Nothing is computed yet. Equal pixels of one owner share their state, in sessions open at once and later ones;
        without `keep` the session has a state of its own, of which nothing is left when it is closed. `key`: the
        `image_key` of pixels and owner, from those who know it.
        """
        self._require_open()
        pixels = None if image is None else load_image(image, max_pixels)
        kept = (key or image_key(pixels, owner)) if keep or pixels is None else new_key()
        return ImageSession(self._shared, kept, lambda: self._shared.model.open(pixels))

    def check(self, request: Request, with_image: bool = True) -> None:
        """Whether `request`, in one of the family's tasks (`with_task`), can be answered; nothing is computed.

        Raises PromptError and InputError as sessions would.
        """
        self._require_open()
        self._shared.model.check(request, with_image)

    def open_computed(self, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> ImageSession:
        """A session about an image of this size whose image graphs ran elsewhere; what other graphs take of their
        outputs, by name.
        """
        self._require_open()
        return ImageSession(self._shared, new_key(), lambda: self._shared.model.open_computed(outputs, image_hw))

    def open_video(self, max_pixels: int = MAX_PIXELS) -> VideoSession:
        """A session about one video. Raises InputError where the family sees no videos."""
        self._require_open()
        if not self.family.video_tasks:
            raise InputError(f"{self.family.title} does not segment videos: {self.family.lacks.get(VIDEO, '')}")
        return VideoSession(self._shared, max_pixels)

    def _require_open(self) -> None:
        if self._shared.closed:
            raise InputError("the pipeline is closed; load the bundle again")

    def close(self) -> None:
        """Free everything; sessions that are still open end."""
        self._shared.closed = True
        with self._shared.turn.held_by_the_last():
            self._shared.images.clear()
            self._shared.model.close()
            self._graphs.clear()
            self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def require_runnable(manifest: Manifest, backend: Backend) -> None:
    """Raise BundleError where a graph's number format is none of the backend's."""
    foreign = [entry for entry in manifest.graphs if entry.precision not in backend.precisions]
    if foreign:
        names = ", ".join(entry.spec.name for entry in foreign)
        raise BundleError(
            f"{names}: the bundle has {foreign[0].precision} graphs, the backend {backend.name} runs "
            f"{', '.join(sorted(backend.precisions))}; use engines (build, then --backend tensorrt) "
            "or export with another --precision"
        )


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
