"""One engine, in a process of its own: TensorRT can take a process down, and frees its memory only with it.

    python -m hyperseg_export.engine.worker JOB.json

Prints one JSON object per line: {"progress": ...} as it goes, then {"made": ...} or {"error": ..., "kind": ...}.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from hyperseg_export.engine.audit import audit_engine
from hyperseg_export.engine.network import add_profile, decompose_attention, parse
from hyperseg_export.engine.options import BuildOptions
from hyperseg_export.engine.profiles import make_profiles
from hyperseg_runtime.backends.tensorrt.engine import OUT_OF_MEMORY, EngineReader, started
from hyperseg_runtime.backends.tensorrt.logger import reason
from hyperseg_runtime.backends.tensorrt.machine import load_tensorrt
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import EngineError, HypersegError, OutputError, ResourceError
from hyperseg_runtime.files import NO_ROOM, explained, fsync_file, write_atomically

Description = TypeVar("Description", bound=BaseModel)


class Job(BaseModel):
    """What to build, and where to put plan and timing cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    onnx: Path
    spec: GraphSpec
    precision: Precision
    options: BuildOptions
    timing_cache: Path
    plan: Path
    plugins: tuple[Path, ...]


class Built(BaseModel):
    """What the engine turned out to be, read back from the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer_types: dict[str, int]
    plugin_layers: int
    decomposed_attention: int
    build_seconds: float


def build(job: Job) -> Built:
    """Write `job.plan` and read it back. Raises EngineError, AuditError, ResourceError or OutputError."""
    trt = load_tensorrt()
    start = perf_counter()
    reader = EngineReader(trt, job.plugins)
    logger = reader.logger
    builder = started(trt, trt.Builder, logger)
    network = parse(trt, builder, logger, job.onnx, job.spec)
    decomposed = decompose_attention(trt, network)
    config = _configure(trt, builder, job)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failure(job, reason(logger))
    with explained(job.plan), job.plan.open("wb") as file:
        file.write(memoryview(plan))
        fsync_file(file)
    del plan  # it can take gigabytes
    _keep_timings(config, job.timing_cache)
    seconds = perf_counter() - start
    engine = reader.read(job.plan, job.options.version_compatible)
    profiles = len(make_profiles(job.spec, job.options.profile))
    audit = audit_engine(trt, engine, job.spec, job.precision, profiles)
    return Built(
        layer_types=audit.layer_types,
        plugin_layers=audit.plugin_layers,
        decomposed_attention=len(decomposed),
        build_seconds=round(seconds, 2),
    )


def _configure(trt: Any, builder: Any, job: Job) -> Any:
    options = job.options
    config = builder.create_builder_config()
    config.builder_optimization_level = options.level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the audit reads types from it
    config.progress_monitor = _monitor(trt)
    # On by default: it would compute float32 products, and so the islands of a plan, with 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    flags = {
        trt.BuilderFlag.VERSION_COMPATIBLE: options.version_compatible,
        trt.BuilderFlag.WEIGHT_STREAMING: options.weight_streaming,
        trt.BuilderFlag.REFIT: options.refit,
        trt.BuilderFlag.STRIP_PLAN: options.stripped,
    }
    for flag, wanted in flags.items():
        if wanted:
            config.set_flag(flag)
    known = job.timing_cache.read_bytes() if job.timing_cache.is_file() else b""
    timings = config.create_timing_cache(known)
    if timings is None:  # of another patch release, or damaged
        timings = config.create_timing_cache(b"")
    config.set_timing_cache(timings, False)
    for profile in make_profiles(job.spec, options.profile):
        add_profile(builder, config, job.spec, profile)
    return config


def _keep_timings(config: Any, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is not None:
        write_atomically(path, bytes(cache.serialize()))


def _failure(job: Job, said: str) -> HypersegError:
    if any(sign in said.lower() for sign in OUT_OF_MEMORY):
        return ResourceError(
            f"graph {job.spec.name}: memory ran out during the build; try a smaller --workspace-gb, a preset with "
            f"fewer profiles, or free the GPU:\n  {said}"
        )
    return EngineError(f"graph {job.spec.name}: no engine could be built:\n  {said}")


def _monitor(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Tells the parent process how far each phase is."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.steps[phase] = steps

        def step_complete(self, phase: str, step: int) -> bool:
            say({"progress": {"name": phase, "step": step + 1, "steps": self.steps.get(phase, 0)}})
            return True

        def phase_finish(self, phase: str) -> None:
            self.steps.pop(phase, None)

    return Monitor()


def say(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


def run_job(kind: type[Description], work: Callable[[Description], BaseModel]) -> None:
    """Do the work that a file describes, named on the command line, and say how it went."""
    job = kind.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        say({"made": work(job).model_dump(mode="json")})
    except HypersegError as error:
        say({"error": str(error), "kind": type(error).__name__})
    except MemoryError:
        say({"error": "the host's memory ran out; use a machine with more", "kind": ResourceError.__name__})
    except OSError as error:
        told = ResourceError if error.errno in NO_ROOM else OutputError
        say({"error": f"{error.filename}: {error.strerror}", "kind": told.__name__})


if __name__ == "__main__":
    run_job(Job, build)
