"""What is measured side by side: bundles on backends, and rivals that other packages register."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hyperseg_bench.latency.watching import WatchedBackend
from hyperseg_bench.quality.evaluation import precision_of
from hyperseg_runtime import console
from hyperseg_runtime.backends.base import Backend
from hyperseg_runtime.backends.by_name import OPTIONS, make_backend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import EnvironmentMissingError, InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_runtime.files.hashing import HashFile
from hyperseg_runtime.session.pipeline import AT_ONCE, Pipeline, require_runnable

RIVALS = "hyperseg_trt.rivals"
"""Entry points: functions of an opened bundle, its checkpoint and the threads, that give a `Backend`."""
MakeRival = Callable[[Bundle, Path, int | None], Backend]


@dataclass(frozen=True)
class Choice:
    """What the caller chose for all subjects.

    options  backends' options, each given to the backends that know it
    """

    checkpoint: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    pipeline: Pipeline
    watch: WatchedBackend


@dataclass(frozen=True, eq=False)
class Subject:
    """A bundle on a backend, or run by a rival of this name."""

    bundle: Bundle
    backend: str
    rival: EntryPoint | None = None

    @property
    def label(self) -> str:
        return f"{self.bundle.directory.resolve().name} {self.backend}"

    @property
    def family(self) -> FamilySpec:
        return FAMILIES[self.bundle.manifest.family]

    def facts(self) -> dict[str, str]:
        manifest = self.bundle.manifest
        return {"family": manifest.family, "precision": precision_of(manifest), "backend": self.backend,
                "checkpoint": manifest.provenance.checkpoint_sha256}  # fmt: skip

    def open(self, choice: Choice) -> Opened:
        """Nothing is remembered between images. Raises a HypersegError where this machine or choice lacks something."""
        watch = WatchedBackend(self._backend(choice))
        try:
            require_runnable(self.bundle.manifest, watch)
            at_once = AT_ONCE if choice.options.get("low_memory") else None
            return Opened(Pipeline(self.bundle, watch, cache_bytes=0, at_once=at_once), watch)
        except BaseException:
            watch.close()
            raise

    def _backend(self, choice: Choice) -> Backend:
        if self.rival is None:
            known = {name: value for name, value in choice.options.items() if name in OPTIONS[self.backend]}
            return make_backend(self.backend, self.bundle, **known)
        if choice.checkpoint is None:
            raise InputError("it runs the modules of the checkpoint: name it with --checkpoint")
        try:
            make: MakeRival = self.rival.load()
        except ImportError as error:
            raise EnvironmentMissingError(
                f"{error.name} is not installed; run: pip install 'hyperseg-trt[export]'"
            ) from error
        return make(self.bundle, choice.checkpoint, choice.options.get("threads"))


def subjects(bundles: Sequence[Bundle], backends: Sequence[str], rivals: Sequence[str]) -> list[Subject]:
    """Every bundle with every one of these, all that are known for none; the first bundle alone with rivals.

    Raises InputError for a name that nobody knows, and for two bundles of one name.
    """
    registered = {entry.name: entry for entry in sorted(entry_points(group=RIVALS))}
    _require_known("backend", backends, list(OPTIONS))
    _require_known("rival", rivals, list(registered))
    named = [bundle.directory.resolve().name for bundle in bundles]
    if len(set(named)) < len(named):
        raise InputError(f"two bundles are called {max(named, key=named.count)}; their rows could not be told apart")
    found = [Subject(bundle, backend) for bundle in bundles for backend in backends or OPTIONS]
    return found + [Subject(bundles[0], name, registered[name]) for name in rivals or registered]


def _require_known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"unknown {what} {name!r}; choose {', '.join(known) or 'none, no package brings one'}")


def verified(path: Path, hash_of: HashFile) -> Bundle:
    """A bundle with all its files checked by `hash_of`, and a bar while a large one is. Raises BundleError."""
    read = Bundle.read(path)
    with console.byte_progress(f"checking {path.name}", read.manifest.size_bytes) as on_bytes:
        return read.verified(on_bytes, hash_of=hash_of)
