"""From a bundle to engines for the GPU of this machine, one process per graph. Goes on where it was stopped."""

import fcntl
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hyperseg_export.engine.options import BuildOptions, EnginePlan, chosen_graphs, plan_engine
from hyperseg_export.engine.process import run_worker
from hyperseg_export.engine.worker import Built, Job
from hyperseg_export.parity.engine import Measured, ParityJob
from hyperseg_export.parity.reference import record_calls
from hyperseg_export.progress import Progress, Silent
from hyperseg_export.samples import sample_images
from hyperseg_export.steps import content_key
from hyperseg_runtime.bundle import Bundle, describe_file
from hyperseg_runtime.engines import (
    FILE_NAME,
    EngineEntry,
    EngineManifest,
    Machine,
    engine_folder,
    engine_path,
    read_engines,
    source_hashes,
)
from hyperseg_runtime.errors import BundleError, NumericsError, OutputError, ParityError, ResourceError
from hyperseg_runtime.files import explained, output_folder, write_atomically
from hyperseg_runtime.graph_spec import GraphSpec
from hyperseg_runtime.machine import find_machine
from hyperseg_runtime.manifest import GraphEntry, ParityEntry

BUILDER, CHECKER = "hyperseg_export.engine.worker", "hyperseg_export.parity.engine"
REFERENCE_CALLS = 5
"""Calls of the language model per photograph; their caches are by far the largest of what is saved."""


def build_engines(
    directory: Path,
    options: BuildOptions,
    graphs: Sequence[str] | None = None,
    progress: Progress | None = None,
    measure_parity: bool = True,
) -> EngineManifest:
    """Build, read back, compare and record engines of the named graphs (default: all). Returns all of the target.

    Each engine is recorded as soon as it is done; a later call skips those whose ONNX files, options and target
    are the same, and compares those that were not compared. Raises EnvironmentMissingError before anything is
    written, EngineError, AuditError, ParityError, NumericsError, ResourceError, BundleError or OutputError.
    """
    machine = find_machine()
    bundle = Bundle.open(directory)
    entries = chosen_graphs(bundle.manifest, graphs)
    plans = [plan_engine(entry, options) for entry in entries]
    folder = engine_folder(directory, machine.target)
    progress = progress or Silent()
    with output_folder(folder), _only_one(folder):
        _require_room(folder, plans, [entry.spec for entry in entries] if measure_parity else [])
        with _Build(bundle, folder, options, machine, progress) as build:
            for index, (entry, plan) in enumerate(zip(entries, plans, strict=True), 1):
                progress.stage(f"{plan.graph} ({plan.precision})", index, len(plans))
                build.make(entry, plan)
            unmeasured = [entry for entry in entries if build.manifest.usable(entry.spec.name, True).parity is None]
            if measure_parity and unmeasured:
                build.measure(unmeasured)
    return build.manifest


class _Build:
    """One run of the verb; `manifest` is what the target has so far."""

    def __init__(
        self, bundle: Bundle, folder: Path, options: BuildOptions, machine: Machine, progress: Progress
    ) -> None:
        self.manifest = _begin(folder, machine)
        self._bundle = bundle
        self._folder = folder
        self._options = options
        self._machine = machine
        self._progress = progress
        self._reference = folder / ".reference"

    def __enter__(self) -> "_Build":
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._reference, ignore_errors=True)

    def make(self, entry: GraphEntry, plan: EnginePlan) -> None:
        """Build and audit, unless that was done already."""
        key = self._key(entry, plan)
        if self._is_there(plan.graph, key):
            self._progress.note(f"{plan.graph}: built earlier, kept")
            return
        made = self._built(entry)
        self._record(
            EngineEntry(
                graph=plan.graph,
                key=key,
                sources=source_hashes(self._bundle.manifest, plan.graph),
                file=describe_file(self._folder / f"{plan.graph}.plan"),
                precision=plan.precision,
                profiles=tuple(profile.name for profile in plan.profiles),
                version_compatible=self._options.version_compatible,
                stripped=self._options.stripped,
                **made.model_dump(),
            )
        )

    def measure(self, entries: Sequence[GraphEntry]) -> None:
        """Compare engines with their ONNX graphs. One that fails is thrown away, and the error raised."""
        shutil.rmtree(self._reference, ignore_errors=True)
        with explained(self._reference):
            self._reference.mkdir()
            names = [entry.spec.name for entry in entries]
            record_calls(self._bundle, names, sample_images(), self._reference, self._progress)
        for index, entry in enumerate(entries, 1):
            self._progress.stage(f"parity: {entry.spec.name}", index, len(entries))
            engine = self.manifest.usable(entry.spec.name, True)
            self._record(engine.model_copy(update={"parity": self._measured(entry, engine)}))

    def _measured(self, entry: GraphEntry, engine: EngineEntry) -> tuple[ParityEntry, ...]:
        name = entry.spec.name
        job = ParityJob(
            spec=entry.spec,
            precision=entry.precision,
            plan=engine_path(self._folder, engine),
            onnx=self._bundle.path(entry.file),
            version_compatible=engine.version_compatible,
            stripped=engine.stripped,
            calls=self._reference,
        )
        try:
            return run_worker(CHECKER, name, job, Measured, self._progress).parity
        except (ParityError, NumericsError):
            self._forget(name)
            (self._folder / f"{name}.plan").unlink()
            raise

    def _built(self, entry: GraphEntry) -> Built:
        """Run the worker; its plan takes its final name only after the audit."""
        name = entry.spec.name
        partial = self._folder / f".{name}.plan.partial"
        job = Job(
            onnx=self._bundle.path(entry.file),
            spec=entry.spec,
            precision=entry.precision,
            options=self._options,
            timing_cache=self._folder / "timing.cache",
            plan=partial,
        )
        try:
            built = run_worker(BUILDER, name, job, Built, self._progress)
            self._forget(name)
            with explained(self._folder):
                partial.replace(self._folder / f"{name}.plan")
        finally:
            partial.unlink(missing_ok=True)
        return built

    def _record(self, engine: EngineEntry) -> None:
        others = tuple(other for other in self.manifest.engines if other.graph != engine.graph)
        self._write((*others, engine))

    def _forget(self, graph: str) -> None:
        """Before the file changes: a list never names a file that is another one."""
        if self.manifest.engine(graph):
            self._write(tuple(other for other in self.manifest.engines if other.graph != graph))

    def _write(self, engines: tuple[EngineEntry, ...]) -> None:
        self.manifest = self.manifest.model_copy(update={"engines": engines})
        write_atomically(self._folder / FILE_NAME, self.manifest.to_bytes())

    def _key(self, entry: GraphEntry, plan: EnginePlan) -> str:
        """Changes with everything an engine is made from: files, contract, profiles, options, target, this code."""
        sources = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
        contract = (entry.spec.model_dump(mode="json"), plan.precision, repr(plan.profiles))
        target = (self._machine.target, self._machine.tensorrt)
        files = source_hashes(self._bundle.manifest, plan.graph)
        return content_key(files, target, *contract, self._options.model_dump(), sources)

    def _is_there(self, graph: str, key: str) -> bool:
        entry = self.manifest.engine(graph)
        if entry is None or entry.key != key:
            return False
        try:
            engine_path(self._folder, entry)
        except BundleError:
            return False
        return True


def _begin(folder: Path, machine: Machine) -> EngineManifest:
    """What the folder has for this machine; nothing if another patch release of TensorRT made it."""
    found = read_engines(folder)
    engines = found.engines if found is not None and found.machine.fits(machine) else ()
    return EngineManifest(machine=machine, engines=engines)


def _require_room(folder: Path, plans: Sequence[EnginePlan], compared: Sequence[GraphSpec]) -> None:
    """ResourceError before the work, if the disk cannot hold the engines and the calls they are compared on."""
    present = sum(path.stat().st_size for path in folder.glob("*.plan"))
    saved = REFERENCE_CALLS * len(sample_images()) * sum(map(call_bytes, compared))
    needed = max(0, sum(plan.plan_bytes[0] for plan in plans) - present) + saved
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"{folder}: engines and the calls they are compared on take about {needed / 1e9:.1f} GB, the disk has "
            f"{free / 1e9:.1f} GB free; free some, build one graph at a time (--graph), or use --skip-parity"
        )


def call_bytes(spec: GraphSpec) -> int:
    """What the inputs and outputs of a typical call take, saved in float32."""
    sizes: Mapping[str, int] = {axis: limits.typical for axis, limits in spec.axis_ranges.items()}
    tensors = (*spec.inputs, *spec.outputs)
    return sum(4 * math.prod(sizes[a] if isinstance(a, str) else a for a in tensor.axes) for tensor in tensors)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two builds of one target would write the same files."""
    path = folder / ".lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat())
        except OSError:
            taken = False
        if not taken:  # or another build has just ended, and its lock went with it
            raise OutputError(f"{folder}: another build is writing here; wait for it to finish")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
