"""One engine, in a process of its own: TensorRT can take a process down, and frees its memory only with it.

    python -m hyperseg_export.engine.worker JOB.json

What it prints: see `jobs.worker`.
"""

from pathlib import Path
from time import perf_counter
from typing import Any

from pydantic import BaseModel, ConfigDict

from hyperseg_export.engine.attention import AttentionForm, advice, attention_nodes, default_form, write_out
from hyperseg_export.engine.audit import audit_engine
from hyperseg_export.engine.bodies import sum_products
from hyperseg_export.engine.network import add_profile, decompose_attention, mark_weights, parse
from hyperseg_export.engine.options import BuildOptions
from hyperseg_export.engine.plugins import PluginForm, form_of, planned_layers, register_kernels
from hyperseg_export.engine.plugins import advice as plugin_advice
from hyperseg_export.engine.profiles import Profile, make_profiles
from hyperseg_export.jobs.worker import keep_stdout, run_job, say
from hyperseg_runtime.backends.tensorrt.engine import OUT_OF_MEMORY, EngineReader, started
from hyperseg_runtime.backends.tensorrt.logger import reason
from hyperseg_runtime.backends.tensorrt.machine import load_tensorrt
from hyperseg_runtime.bundle.quantization import RoundedEntry
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.contracts.tensorrt_versions import parse_version
from hyperseg_runtime.errors import EngineError, HypersegError, ResourceError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.files.writing import explained, fsync_file, write_atomically


class Job(BaseModel):
    """What to build, and where to put plan and timing cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    onnx: Path
    spec: GraphSpec
    precision: Precision
    rounded: RoundedEntry | None = None
    options: BuildOptions
    timing_cache: Path
    plan: Path
    plugins: tuple[Path, ...]
    architecture: str
    """Of the GPU, like "sm_90"."""

    @property
    def plugin_form(self) -> PluginForm | None:
        return form_of(self.spec, self.options.plugins)


def _profiles(job: Job) -> tuple[Profile, ...]:
    return make_profiles(job.spec, job.options.profile, FAMILIES[job.family].profile_hints(job.spec))


class Built(BaseModel):
    """What the engine turned out to be, read back from the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer_types: dict[str, int]
    plugins: PluginForm | None = None
    plugin_layers: int
    rounded_weights: int = 0
    decomposed_attention: int
    attention: AttentionForm | None = None
    attention_layers: int = 0
    fused_attention: dict[str, int] = {}
    build_seconds: float


def build(job: Job) -> Built:
    """Write `job.plan` and read it back. Raises EngineError, AuditError, ResourceError or OutputError."""
    trt = load_tensorrt()
    start = perf_counter()
    reader = EngineReader(trt, job.plugins)
    register_kernels(job.plugin_form, job.architecture)
    form, count, changed = formed(trt, job)
    decomposed = write_plan(trt, reader, job, form, changed)
    seconds = perf_counter() - start
    engine = reader.read(job.plan, job.options.version_compatible)
    profiles = [profile.name for profile in _profiles(job)]
    plugin_count = planned_layers(job.onnx, job.plugin_form)
    audit = audit_engine(trt, engine, job.spec, job.precision, len(profiles), plugin_count, job.rounded)
    return Built(
        layer_types=audit.layer_types,
        plugins=job.plugin_form,
        plugin_layers=audit.plugin_layers,
        rounded_weights=audit.rounded_weights,
        decomposed_attention=len(decomposed),
        attention=form,
        attention_layers=count,
        fused_attention=dict(zip(profiles, audit.fused_attention, strict=True)) if count else {},
        build_seconds=round(seconds, 2),
    )


def write_plan(
    trt: Any, reader: EngineReader, job: Job, form: AttentionForm | None, changed: bytes | None
) -> list[str]:
    """Write `job.plan` from the ONNX file or its `changed` content; attention layers known to have no fused kernel.

    Raises EngineError, ResourceError or OutputError.
    """
    logger = reader.logger
    builder = started(trt, trt.Builder, logger)
    network = parse(trt, builder, logger, job.onnx, job.spec, changed)
    if job.options.refit or job.options.stripped:
        mark_weights(network, job.onnx, job.spec)
    decomposed = [] if form is AttentionForm.FUSED else decompose_attention(trt, network)
    config = _configure(trt, builder, job)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failure(job, reason(logger), form)
    with explained(job.plan), job.plan.open("wb") as file:
        file.write(memoryview(plan))
        fsync_file(file)
    _keep_timings(config, job.timing_cache)
    return decomposed


def formed(trt: Any, job: Job) -> tuple[AttentionForm | None, int, bytes | None]:
    """Form and number of attention nodes, and the ONNX file's new content where it is not built as it is."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(job.onnx, load_external_data=False)
    except DecodeError:
        return None, 0, None  # the parser will say what is wrong with the file
    nodes, form = list(attention_nodes(model)), None
    if nodes:
        kinds, widths = [kind for _, kind, _, _ in nodes], [width for _, _, _, width in nodes]
        form = job.options.attention_of(job.spec.name) or default_form(parse_version(trt.__version__), kinds, widths)
    written_out = form is AttentionForm.WRITTEN_OUT and write_out(model)
    summed = job.plugin_form is PluginForm.BODY and sum_products(model)
    return form, len(nodes), model.SerializeToString() if written_out or summed else None


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
        trt.BuilderFlag.REFIT_INDIVIDUAL: options.refit or options.stripped,  # see `mark_weights`
        trt.BuilderFlag.STRIP_PLAN: options.stripped,
    }
    for flag, wanted in flags.items():
        if wanted:
            config.set_flag(flag)
    _use_timings(config, job.timing_cache)
    for profile in _profiles(job):
        add_profile(builder, config, job.spec, profile)
    return config


def _use_timings(config: Any, path: Path) -> None:
    """Attach the timings of earlier builds; none where they are damaged, of another patch release or another GPU.

    A cache of another device is refused when it is attached, not when it is read (NvInfer.h 11.1,
    IBuilderConfig::setTimingCache); `config` keeps what it has attached alive.
    """
    known = path.read_bytes() if path.is_file() else b""
    timings = config.create_timing_cache(known)
    if timings is None or not config.set_timing_cache(timings, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _keep_timings(config: Any, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is not None:
        write_atomically(path, bytes(cache.serialize()))


def _failure(job: Job, message: str, form: AttentionForm | None) -> HypersegError:
    if any(sign in message.lower() for sign in OUT_OF_MEMORY):
        return ResourceError(
            f"graph {job.spec.name}: memory ran out during the build; try a smaller --workspace-gb, a preset with "
            f"fewer profiles, or free the GPU:\n  {message}"
        )
    hint = advice(job.spec.name, form)
    if form is AttentionForm.FUSED:
        hint = f"fused attention was asked for; where there is no kernel: build --attention {job.spec.name}=decomposed"
    hints = filter(None, (hint, plugin_advice(job.spec.name, job.plugin_form)))
    return EngineError("\n".join([f"graph {job.spec.name}: no engine could be built:", f"  {message}", *hints]))


def _monitor(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Tells the parent process how far each phase is, from whatever thread TensorRT calls it ("must be
        thread-safe so that it can be called from multiple internal threads", NvInfer.h 11.1, IProgressMonitor).
        """

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


if __name__ == "__main__":
    keep_stdout()
    run_job(Job, build)
