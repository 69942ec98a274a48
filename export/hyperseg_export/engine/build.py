"""From a bundle to engines for the GPU of this machine, one process per graph. Goes on where it was stopped."""

import fcntl
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hyperseg_export.engine.machine import find_machine
from hyperseg_export.engine.options import BuildOptions, EnginePlan, chosen_graphs, plan_engine
from hyperseg_export.engine.worker import Built, Job
from hyperseg_export.progress import Progress, Silent
from hyperseg_export.steps import content_key
from hyperseg_runtime import errors
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
from hyperseg_runtime.errors import BundleError, EngineError, OutputError, ResourceError
from hyperseg_runtime.files import explained, output_folder, write_atomically
from hyperseg_runtime.manifest import GraphEntry

WORKER = "hyperseg_export.engine.worker"


def build_engines(
    directory: Path,
    options: BuildOptions,
    graphs: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> EngineManifest:
    """Build, read back and record engines of the named graphs (default: all). Returns all that the target has.

    Each engine is recorded as soon as it is done; a later call skips those whose ONNX files, options and target
    are the same. Raises EnvironmentMissingError before anything is written, EngineError, AuditError,
    ResourceError, BundleError or OutputError.
    """
    machine = find_machine()
    bundle = Bundle.open(directory)
    entries = chosen_graphs(bundle.manifest, graphs)
    plans = [plan_engine(entry, options) for entry in entries]
    folder = engine_folder(directory, machine.target)
    progress = progress or Silent()
    with output_folder(folder), _only_one(folder):
        manifest = _begin(folder, machine)
        for index, (entry, plan) in enumerate(zip(entries, plans, strict=True), 1):
            progress.stage(f"{plan.graph} ({plan.precision})", index, len(plans))
            key = _key(bundle, entry, plan, options, machine)
            if _is_there(folder, manifest, plan.graph, key):
                progress.note(f"{plan.graph}: built earlier, kept")
                continue
            made = _build_one(bundle, entry, folder, options, machine, progress)
            engine = EngineEntry(
                graph=plan.graph,
                key=key,
                file=describe_file(folder / f"{plan.graph}.plan"),
                precision=plan.precision,
                profiles=tuple(profile.name for profile in plan.profiles),
                **made.model_dump(),
            )
            others = tuple(other for other in manifest.engines if other.graph != plan.graph)
            manifest = manifest.model_copy(update={"engines": (*others, engine)})
            write_atomically(folder / FILE_NAME, manifest.to_bytes())
    return manifest


def _key(bundle: Bundle, entry: GraphEntry, plan: EnginePlan, options: BuildOptions, machine: Machine) -> str:
    """Changes with everything an engine is made from: files, contract, profiles, options, target, this code."""
    sources = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
    parts = (entry.spec.model_dump(mode="json"), plan.precision, repr(plan.profiles), options.model_dump(), sources)
    return content_key(source_hashes(bundle, plan.graph), machine.model_dump(mode="json"), *parts)


def _begin(folder: Path, machine: Machine) -> EngineManifest:
    """What the folder has; nothing if another driver or GPU model made it."""
    found = read_engines(folder)
    return found if found is not None and found.machine == machine else EngineManifest(machine=machine)


def _is_there(folder: Path, manifest: EngineManifest, graph: str, key: str) -> bool:
    entry = manifest.engine(graph)
    if entry is None or entry.key != key:
        return False
    try:
        engine_path(folder, entry)
    except BundleError:
        return False
    return True


def _build_one(
    bundle: Bundle, entry: GraphEntry, folder: Path, options: BuildOptions, machine: Machine, progress: Progress
) -> Built:
    """Run the worker; its plan takes its final name only after the audit."""
    name = entry.spec.name
    partial = folder / f".{name}.plan.partial"
    gpu = "".join(letter if letter.isalnum() else "-" for letter in machine.gpu.lower())
    job = Job(
        onnx=bundle.path(entry.file),
        spec=entry.spec,
        precision=entry.precision,
        options=options,
        timing_cache=folder / f"timing-{gpu}.cache",
        plan=partial,
    )
    try:
        built = _run_worker(name, job, progress)
        with explained(folder):
            partial.replace(folder / f"{name}.plan")
    finally:
        partial.unlink(missing_ok=True)
    return built


def _run_worker(graph: str, job: Job, progress: Progress) -> Built:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "job.json"
        path.write_text(job.model_dump_json())
        command = [sys.executable, "-m", WORKER, str(path)]
        with (
            (Path(scratch) / "stderr").open("w+") as stderr,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as worker,
        ):
            try:
                last = _follow(worker, progress)
            except BaseException:
                worker.kill()
                raise
            worker.wait()
            stderr.seek(0)
            said = stderr.read().strip().splitlines()[-3:]
    if "built" in last:
        return Built.model_validate(last["built"])
    if "error" in last:
        raise getattr(errors, str(last["kind"]))(last["error"])
    if worker.returncode in (-signal.SIGKILL, 137):
        raise ResourceError(f"graph {graph}: the build was killed, most likely because the host's memory ran out")
    raise EngineError(f"graph {graph}: the build ended with {worker.returncode}: {' | '.join(said)}")


def _follow(worker: "subprocess.Popen[str]", progress: Progress) -> dict[str, object]:
    """Pass progress on; the last message that is not progress."""
    last: dict[str, object] = {}
    assert worker.stdout is not None
    for line in worker.stdout:
        if not line.startswith("{"):  # the library prints too
            continue
        message = json.loads(line)
        if phase := message.get("progress"):
            progress.phase(phase["name"], phase["step"], phase["steps"])
        else:
            last = message
    return last


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two builds of one target would write the same files."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"{folder}: another build is writing here; wait for it to finish") from error
        yield
