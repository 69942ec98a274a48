"""From a bundle to engines for the GPU of this machine, one process per graph. Goes on where it was stopped."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from hyperseg_export.engine.attention import AttentionForm
from hyperseg_export.engine.bisect import BisectJob, Culprit
from hyperseg_export.engine.inspector import UNKNOWN
from hyperseg_export.engine.measure import Measured, ParityJob
from hyperseg_export.engine.options import BuildOptions, EnginePlan, chosen_graphs, plan_engines
from hyperseg_export.engine.plugins import PluginForm, form_of, kernel_sources, require_kernels
from hyperseg_export.engine.target import Target, only_one
from hyperseg_export.engine.worker import Built, Job
from hyperseg_export.jobs.process import run_worker
from hyperseg_export.jobs.progress import Progress, Silent
from hyperseg_export.jobs.staging import content_key
from hyperseg_export.parity.reference import Recorded, ReferenceJob, reference_bytes
from hyperseg_export.samples import sample_images
from hyperseg_runtime.backends.tensorrt.machine import find_machine
from hyperseg_runtime.bundle.engines import (
    EngineEntry,
    EngineManifest,
    engine_folder,
    engine_path,
    plugin_libraries,
    source_hashes,
)
from hyperseg_runtime.bundle.manifest import FileEntry, GraphEntry, ParityEntry
from hyperseg_runtime.bundle.opening import Bundle, describe_file
from hyperseg_runtime.errors import NumericsError, ParityError, ResourceError
from hyperseg_runtime.files.writing import explained, output_folder

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
    with (
        output_folder(folder),
        only_one(folder),
        _Build(bundle, Target(folder, machine), options, progress, plugins, bisect) as build,
    ):
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
    return build.target.manifest


class _Build:
    """One run of the verb."""

    def __init__(
        self,
        bundle: Bundle,
        target: Target,
        options: BuildOptions,
        progress: Progress,
        plugins: Sequence[Path],
        bisect: bool,
    ) -> None:
        self._bundle = bundle
        self.target = target
        self._folder = target.folder
        self._options = options
        self._progress = progress
        self._plugins = tuple(path.resolve() for path in plugins)
        self._bisect = bisect
        self._reference = target.folder / ".reference"

    def __enter__(self) -> Self:
        for left in self._folder.glob(".*.partial"):  # by a build that was killed
            left.unlink()
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._reference, ignore_errors=True)

    def has(self, entry: GraphEntry, plan: EnginePlan) -> bool:
        """Whether this very engine is there, whole."""
        return self.target.has(plan.graph, self._key(entry, plan))

    def has_parity(self, entry: GraphEntry, missing: Sequence[EnginePlan]) -> bool:
        """Whether an engine that is there was compared with its graph."""
        engine = self.target.manifest.engine(entry.spec.name)
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
            layers = f" in {made.plugin_layers} plugin layers" if made.plugin_layers else ""
            self._progress.note(f"{plan.graph}: our operators{layers} ({made.plugins})")
        if made.attention:
            found = ", ".join(f"{profile} {count}" for profile, count in made.fused_attention.items())
            self._progress.note(
                f"{plan.graph}: attention {made.attention} in {made.attention_layers} layers; fused kernels in the "
                f"engine: {found}" + ("" if _all_fused(made) else "; the others run as separate layers, slower")
            )
        self.target.record(
            EngineEntry(
                graph=plan.graph,
                key=self._key(entry, plan),
                sources=source_hashes(self._bundle.manifest, plan.graph),
                file=describe_file(self.target.plan(plan.graph)),
                precision=plan.precision,
                profiles=tuple(profile.name for profile in plan.profiles),
                version_compatible=self._options.version_compatible,
                hardware_compatible=self._options.hardware_compatible,
                weight_streaming=self._options.weight_streaming,
                stripped=self._options.stripped,
                libraries=self._carried(made),
                **made.model_dump(),
            )
        )

    def _carried(self, made: Built) -> dict[str, FileEntry]:
        """Libraries that the engine brings along, by name."""
        return {library.name: self.target.carry(library) for library in self._plugins if made.plugin_layers}

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
            engine = self.target.manifest.usable(entry.spec.name, True)
            try:
                self.target.record(engine.model_copy(update={"parity": self._measured(entry, engine)}))
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
            self.target.throw_away(name)
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
            self.target.place(name, partial)
        finally:
            partial.unlink(missing_ok=True)
        return built

    def _job(self, entry: GraphEntry, plan: Path) -> Job:
        major, minor = self.target.manifest.machine.compute_capability
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

    def _key(self, entry: GraphEntry, plan: EnginePlan) -> str:
        """Changes with everything an engine is made from: files, contract, profiles, options, target, this code."""
        sources = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
        contract = (entry.spec.model_dump(mode="json"), plan.precision, repr(plan.profiles))
        target = (self.target.manifest.machine.target, self.target.manifest.machine.tensorrt)
        files = source_hashes(self._bundle.manifest, plan.graph)
        made_from = (files, target, *contract, self._options.model_dump(exclude={"plugins"}), sources)
        if not entry.spec.custom_ops:
            return content_key(*made_from)
        libraries = [describe_file(path).sha256 for path in self._plugins]
        return content_key(*made_from, self._options.plugins, libraries, "".join(kernel_sources()))


def _all_fused(made: Built) -> bool:
    return all(count >= made.attention_layers for count in made.fused_attention.values())


def _require_room(folder: Path, plans: Sequence[EnginePlan], saved_bytes: int) -> None:
    """ResourceError before the work, if the disk cannot hold the engines and the calls they are compared on."""
    needed = sum(plan.plan_bytes[0] for plan in plans) + saved_bytes
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"{folder}: engines and the calls they are compared on take about {needed / 1e9:.1f} GB, the disk has "
            f"{free / 1e9:.1f} GB free; free some, build one graph at a time (--graph), or use --skip-parity"
        )
