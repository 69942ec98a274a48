"""From a bundle to engines for the GPU of this machine, one process per graph. Goes on where it was stopped."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from hyperseg_export.engine.attention import AttentionForm
from hyperseg_export.engine.bisect import BisectJob, Culprit
from hyperseg_export.engine.inspector import UNKNOWN
from hyperseg_export.engine.measure import Measured, ParityJob
from hyperseg_export.engine.options import BuildOptions, EnginePlan, chosen_graphs, plan_engines
from hyperseg_export.engine.plugins import PluginForm, form_of, kernel_sources, require_kernels
from hyperseg_export.engine.worker import Built, Job
from hyperseg_export.jobs.process import run_worker
from hyperseg_export.jobs.progress import Progress, Silent
from hyperseg_export.jobs.staging import content_key
from hyperseg_export.parity.reference import Recorded, ReferenceJob, reference_bytes
from hyperseg_export.samples import sample_images
from hyperseg_runtime.backends.tensorrt.machine import find_machine
from hyperseg_runtime.bundle.engines import (
    FILE_NAME,
    PLUGINS,
    EngineEntry,
    EngineManifest,
    Machine,
    engine_folder,
    engine_path,
    plugin_libraries,
    read_engines,
    source_hashes,
)
from hyperseg_runtime.bundle.manifest import FileEntry, GraphEntry, ParityEntry
from hyperseg_runtime.bundle.opening import Bundle, describe_file
from hyperseg_runtime.errors import BundleError, NumericsError, OutputError, ParityError, ResourceError
from hyperseg_runtime.files.writing import explained, output_folder, write_atomically

BUILDER, CHECKER = "hyperseg_export.engine.worker", "hyperseg_export.engine.measure"
BISECTOR, RECORDER = "hyperseg_export.engine.bisect", "hyperseg_export.parity.reference"


def build_engines(
    directory: Path,
    options: BuildOptions,
    graphs: Sequence[str] | None = None,
    progress: Progress | None = None,
    measure_parity: bool = True,
    plugins: Sequence[Path] = (),
    bisect: bool = False,
) -> EngineManifest:
    """Build, read back, compare and record engines of the named graphs (default: all). Returns all of the target.

    `plugins` are libraries of TensorRT plugins to build with; engines that hold any bring them along. With `bisect`
    an engine that differs from its graph is searched for the first tensor that does, which the error then names.
    Each engine is recorded as soon as it is done; a later call skips those whose ONNX files, options and target
    are the same, and compares those that were not compared. Raises EnvironmentMissingError before anything is
    written, EngineError, AuditError, ParityError, NumericsError, ResourceError, BundleError or OutputError.
    """
    machine = find_machine()
    bundle = Bundle.open(directory)
    entries = chosen_graphs(bundle.manifest, graphs)
    plans = plan_engines(bundle.manifest, graphs, options)
    made_here = [
        entry.spec.name for entry in entries if form_of(entry.spec, options.plugins) is PluginForm.AHEAD_OF_TIME
    ]
    if made_here:
        require_kernels(made_here, options.portable)
    folder = engine_folder(directory, machine.target)
    progress = progress or Silent()
    made = _Build(bundle, folder, options, machine, progress, plugins, bisect)
    with output_folder(folder), _only_one(folder), made as build:
        missing = [plan for entry, plan in zip(entries, plans, strict=True) if not build.has(entry, plan)]
        unmeasured = [entry for entry in entries if measure_parity and not build.has_parity(entry, missing)]
        _require_room(folder, missing, reference_bytes(bundle.manifest, [entry.spec.name for entry in unmeasured]))
        for index, (entry, plan) in enumerate(zip(entries, plans, strict=True), 1):
            progress.stage(f"{plan.graph} ({plan.number_format})", index, len(plans))
            if plan in missing:
                build.make(entry, plan)
            else:
                progress.note(f"{plan.graph}: built earlier, kept")
        if unmeasured:
            build.measure(unmeasured)
    return build.manifest


class _Build:
    """One run of the verb; `manifest` is what the target has so far."""

    def __init__(
        self,
        bundle: Bundle,
        folder: Path,
        options: BuildOptions,
        machine: Machine,
        progress: Progress,
        plugins: Sequence[Path],
        bisect: bool,
    ) -> None:
        self.manifest = _begin(folder, machine)
        self._bundle = bundle
        self._folder = folder
        self._options = options
        self._machine = machine
        self._progress = progress
        self._plugins = tuple(path.resolve() for path in plugins)
        self._bisect = bisect
        self._reference = folder / ".reference"

    def __enter__(self) -> Self:
        for left in self._folder.glob(".*.partial"):  # by a build that was killed
            left.unlink()
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._reference, ignore_errors=True)

    def has(self, entry: GraphEntry, plan: EnginePlan) -> bool:
        """Whether this very engine is there, whole."""
        engine = self.manifest.engine(plan.graph)
        if engine is None or engine.key != self._key(entry, plan):
            return False
        try:
            engine_path(self._folder, engine)
            plugin_libraries(self._folder, engine)
        except BundleError:
            return False
        return True

    def has_parity(self, entry: GraphEntry, missing: Sequence[EnginePlan]) -> bool:
        """Whether an engine that is there was compared with its graph."""
        engine = self.manifest.engine(entry.spec.name)
        there = entry.spec.name not in [plan.graph for plan in missing]
        return there and engine is not None and engine.parity is not None

    def make(self, entry: GraphEntry, plan: EnginePlan) -> None:
        """Build, audit and record."""
        made = self._built(entry)
        if unseen := made.layer_types.get(UNKNOWN):
            self._progress.note(
                f"{plan.graph}: TensorRT does not say in which type {unseen} of its layers compute (cannot tell); "
                "inputs, outputs and all other layers are as planned"
            )
        if entry.rounded:
            self._progress.note(
                f"{plan.graph}: {entry.rounded.products} products are quantised ({plan.scheme}), TensorRT tells of "
                f"{made.rounded_weights} weights of that type"
            )
        if made.plugins:
            self._progress.note(f"{plan.graph}: our operators in {made.plugin_layers} plugin layers ({made.plugins})")
        if made.attention:
            found = ", ".join(f"{profile} {count}" for profile, count in made.fused_attention.items())
            self._progress.note(
                f"{plan.graph}: attention {made.attention} in {made.attention_layers} layers; fused kernels in the "
                f"engine: {found}" + ("" if _all_fused(made) else "; the others run as separate layers, slower")
            )
        self._record(
            EngineEntry(
                graph=plan.graph,
                key=self._key(entry, plan),
                sources=source_hashes(self._bundle.manifest, plan.graph),
                file=describe_file(self._folder / f"{plan.graph}.plan"),
                precision=plan.precision,
                profiles=tuple(profile.name for profile in plan.profiles),
                version_compatible=self._options.version_compatible,
                hardware_compatible=self._options.hardware_compatible,
                weight_streaming=self._options.weight_streaming,
                stripped=self._options.stripped,
                libraries=self._carry(made),
                **made.model_dump(),
            )
        )

    def _carry(self, made: Built) -> dict[str, FileEntry]:
        """Copy the libraries beside an engine that needs them; name -> content."""
        folder = self._folder / PLUGINS
        carried = {}
        for library in self._plugins if made.plugin_layers else ():
            with explained(folder):
                folder.mkdir(exist_ok=True)
                write_atomically(folder / library.name, library.read_bytes())
            carried[library.name] = describe_file(folder / library.name)
        return carried

    def measure(self, entries: Sequence[GraphEntry]) -> None:
        """Compare engines with their ONNX graphs. Those that fail are thrown away; the error names all of them."""
        shutil.rmtree(self._reference, ignore_errors=True)
        with explained(self._reference):
            self._reference.mkdir()
            self._progress.stage("parity: reference on a photograph", 0, len(entries))
        job = ReferenceJob(
            bundle=self._bundle.directory,
            graphs=tuple(entry.spec.name for entry in entries),
            image=sample_images()[0],
            folder=self._reference,
        )
        advice = "; the engines are kept: close other programs and call build again, or give them --accept-unmeasured"
        run_worker(RECORDER, "the reference in ONNX Runtime", job, Recorded, self._progress, advice)
        failures: list[ParityError | NumericsError] = []
        for index, entry in enumerate(entries, 1):
            self._progress.stage(f"parity: {entry.spec.name}", index, len(entries))
            engine = self.manifest.usable(entry.spec.name, True)
            try:
                self._record(engine.model_copy(update={"parity": self._measured(entry, engine)}))
            except (ParityError, NumericsError) as error:
                failures.append(error)
        if failures:
            raise type(failures[0])("\n".join(map(str, failures)))

    def _measured(self, entry: GraphEntry, engine: EngineEntry) -> tuple[ParityEntry, ...]:
        name = entry.spec.name
        job = ParityJob(
            family=self._bundle.manifest.family,
            spec=entry.spec,
            precision=entry.precision,
            rounded=entry.rounded is not None,
            plan=engine_path(self._folder, engine),
            onnx=self._bundle.path(entry.file),
            version_compatible=engine.version_compatible,
            stripped=engine.stripped,
            plugins=tuple(plugin_libraries(self._folder, engine)),
            plugin_form=PluginForm(engine.plugins) if engine.plugins else None,
            attention=AttentionForm(engine.attention) if engine.attention else None,
            calls=self._reference,
        )
        try:
            return run_worker(CHECKER, f"graph {name}: the comparison", job, Measured, self._progress).parity
        except (ParityError, NumericsError) as error:
            self._forget(name)
            (self._folder / f"{name}.plan").unlink()
            if self._bisect:
                raise type(error)(f"{error}\n{self._search(entry)}") from error
            raise

    def _search(self, entry: GraphEntry) -> str:
        """Where the engine begins to differ, in words."""
        name = entry.spec.name
        self._progress.stage(f"bisect: {name}", 1, 1)
        scratch = self._reference / "bisect"
        with explained(scratch):
            scratch.mkdir(exist_ok=True)
        job = BisectJob(
            build=self._job(entry, scratch / "probe.plan"),
            calls=self._reference,
            scratch=scratch,
            case=self._folder / f"{name}.case",
        )
        found = run_worker(BISECTOR, f"graph {name}: the search", job, Culprit, self._progress)
        if found.tensor is None:
            return (
                f"graph {name}: no tensor on the way differs once it is an output ({found.builds} builds): fusion "
                "is at fault"
            )
        return (
            f"graph {name}: the engine differs first in {found.tensor} ({found.operator}), cosine distance "
            f"{found.distance:.1e}, allowed {found.allowed:.0e}; a case for polygraphy lies in {found.case}"
        )

    def _built(self, entry: GraphEntry) -> Built:
        """Run the worker; its plan takes its final name only after the audit."""
        name = entry.spec.name
        partial = self._folder / f".{name}.{os.getpid()}.plan.partial"  # a killed build's worker may still write
        try:
            built = run_worker(BUILDER, f"graph {name}: the build", self._job(entry, partial), Built, self._progress)
            self._forget(name)
            with explained(self._folder):
                partial.replace(self._folder / f"{name}.plan")
        finally:
            partial.unlink(missing_ok=True)
        return built

    def _job(self, entry: GraphEntry, plan: Path) -> Job:
        major, minor = self._machine.compute_capability
        return Job(
            family=self._bundle.manifest.family,
            onnx=self._bundle.path(entry.file),
            spec=entry.spec,
            precision=entry.precision,
            rounded=entry.rounded,
            options=self._options,
            timing_cache=self._folder / "timing.cache",
            plan=plan,
            plugins=self._plugins,
            architecture=f"sm_{major}{minor}",
        )

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
        made_from = (files, target, *contract, self._options.model_dump(exclude={"plugins"}), sources)
        if not entry.spec.custom_ops:
            return content_key(*made_from)
        libraries = [describe_file(path).sha256 for path in self._plugins]
        return content_key(*made_from, self._options.plugins, libraries, "".join(kernel_sources()))


def _all_fused(made: Built) -> bool:
    return all(count >= made.attention_layers for count in made.fused_attention.values())


def _begin(folder: Path, machine: Machine) -> EngineManifest:
    """What the folder has for this machine; nothing if another patch release of TensorRT made it."""
    found = read_engines(folder)
    engines = found.engines if found is not None and found.machine.fits(machine) else ()
    return EngineManifest(machine=machine, engines=engines)


def _require_room(folder: Path, plans: Sequence[EnginePlan], saved_bytes: int) -> None:
    """ResourceError before the work, if the disk cannot hold the engines and the calls they are compared on."""
    needed = sum(plan.plan_bytes[0] for plan in plans) + saved_bytes
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"{folder}: engines and the calls they are compared on take about {needed / 1e9:.1f} GB, the disk has "
            f"{free / 1e9:.1f} GB free; free some, build one graph at a time (--graph), or use --skip-parity"
        )


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
