"""Which engines are run, and what is said of those that are not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.backends.tensorrt import TensorRTBackend
from hyperseg_runtime.bundle.opening import Bundle, describe_file, read_manifest
from hyperseg_runtime.errors import BundleError, EnvironmentMissingError, InputError, ResourceError
from llm_steps import scored
from support import RunCli, forget_doubles

TARGET = "sm90-trt11.4-test-gpu-80gb"
GRAPH = "lm_head"


@pytest.fixture
def bundle(gpu: ModuleType, engine_bundle: Path, tmp_path: Path) -> Path:
    """Engines to break."""
    return Path(shutil.copytree(engine_bundle, tmp_path / "bundle"))


@pytest.fixture
def edit(bundle: Path) -> Callable[[Callable[[dict[str, Any]], object]], None]:
    """Change the entry of one engine in the list."""

    def change(work: Callable[[dict[str, Any]], object]) -> None:
        path = bundle / "engines" / TARGET / "engines.json"
        content = json.loads(path.read_bytes())
        work(next(entry for entry in content["engines"] if entry["graph"] == GRAPH))
        path.write_text(json.dumps(content))

    return change


def opened(bundle: Path, **options: Any) -> None:
    """Open one graph, and close everything."""
    entry = read_manifest(bundle).graph(GRAPH)
    with TensorRTBackend(Bundle.read(bundle), **options) as backend:
        backend.open(entry.spec, bundle / entry.file)


def test_a_measured_engine_opens(bundle: Path) -> None:
    opened(bundle)


def test_an_engine_that_was_not_compared_needs_consent(
    bundle: Path, edit: Callable[[Callable[[dict[str, Any]], object]], None]
) -> None:
    edit(lambda entry: entry.update(parity=None))
    with pytest.raises(BundleError, match=r"engine of graph lm_head was never compared .* --accept-unmeasured"):
        opened(bundle)
    opened(bundle, accept_unmeasured=True)


def test_an_engine_that_failed_the_comparison_never_runs(
    bundle: Path, edit: Callable[[Callable[[dict[str, Any]], object]], None]
) -> None:
    edit(lambda entry: entry["parity"][0].update(passed=False))
    with pytest.raises(BundleError, match="engine of graph lm_head differs from the ONNX graph"):
        opened(bundle, accept_unmeasured=True)


def test_a_graph_without_an_engine(bundle: Path) -> None:
    path = bundle / "engines" / TARGET / "engines.json"
    content = json.loads(path.read_bytes())
    content["engines"] = [entry for entry in content["engines"] if entry["graph"] != GRAPH]
    path.write_text(json.dumps(content))
    with pytest.raises(
        BundleError, match=rf"graph lm_head has no engine of {TARGET} that runs here \(engines: preprocess, .*\)"
    ):
        opened(bundle)


def test_another_architecture_is_told_what_there_is(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_CAPABILITY", "8.9")
    with pytest.raises(BundleError, match=rf"no engines for this machine, sm89-.* \(it has: {TARGET}\)"):
        opened(bundle)


def test_engines_of_another_machine_run_where_they_were_built_for_that(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hyperseg_export.engine.build import build_engines
    from hyperseg_export.engine.options import BuildOptions

    build_engines(bundle, BuildOptions(hardware_compatible=True), [GRAPH])
    monkeypatch.setenv("DOUBLE_CAPABILITY", "8.9")
    with pytest.raises(BundleError, match="never compared"):
        opened(bundle, target=TARGET)
    opened(bundle, target=TARGET, accept_unmeasured=True)
    entry = read_manifest(bundle).graph("fvp")
    with (
        TensorRTBackend(Bundle.read(bundle), target=TARGET) as backend,
        pytest.raises(BundleError, match=rf"graph fvp has no engine of {TARGET} that runs here \(engines: lm_head\)"),
    ):
        backend.open(entry.spec, bundle / entry.file)
    with pytest.raises(BundleError, match=r"no engines for sm75-trt11\.4-old"):
        opened(bundle, target="sm75-trt11.4-old")


@pytest.mark.parametrize(
    ("version", "error", "message"),
    [
        (
            "11.4.1.7",
            BundleError,
            r"built with TensorRT 11.4.0.106 for Test GPU 80GB, this machine has TensorRT 11.4.1.7",
        ),
        ("11.5.0.1", BundleError, r"no engines for this machine, sm90-trt11.5-"),
        ("10.13.0.1", EnvironmentMissingError, r"TensorRT 10.15 to 11.x is needed, found 10.13.0.1"),
    ],
)
def test_another_release_of_tensorrt(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, version: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setenv("DOUBLE_VERSION", version)
    forget_doubles()
    with pytest.raises(error, match=message):
        opened(bundle)


@pytest.mark.usefixtures("tensorrt_double")
def test_a_tensorrt_that_cannot_start(engine_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", "cannot start")
    with pytest.raises(EnvironmentMissingError, match="cannot start on this machine, most likely the driver"):
        TensorRTBackend(Bundle.read(engine_bundle))


def test_a_machine_without_tensorrt(engine_bundle: Path, run_cli: RunCli, coffee: Path, tmp_path: Path) -> None:
    """This one."""
    result = run_cli("run", engine_bundle, coffee, "it", "--backend", "tensorrt", "--out", tmp_path / "out")
    assert result.code == 3 and "pip install 'hyperseg-trt[trt]'" in result.err
    assert not (tmp_path / "out").exists()


def test_a_changed_graph_under_an_engine(bundle: Path) -> None:
    path = bundle / "graphs" / "lm_head.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["files"]["graphs/lm_head.onnx"] = describe_file(path).model_dump()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"built from other files .* \(graphs/lm_head.onnx changed\); run: hyperseg"):
        opened(bundle)


def test_a_plan_that_was_changed(bundle: Path) -> None:
    plan = bundle / "engines" / TARGET / "lm_head.plan"
    plan.write_bytes(plan.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"lm_head.plan: missing or changed since it was built"):
        opened(bundle)


def test_a_plan_that_tensorrt_cannot_read(
    bundle: Path, edit: Callable[[Callable[[dict[str, Any]], object]], None]
) -> None:
    plan = bundle / "engines" / TARGET / "lm_head.plan"
    plan.write_bytes(b"no plan")
    edit(lambda entry: entry.update(file=describe_file(plan).model_dump()))
    with pytest.raises(BundleError, match=r"(?s)TensorRT 11.4.0.106 cannot read it; build it again .*kMAGIC_TAG"):
        opened(bundle)


def test_a_plan_of_another_graph(bundle: Path, edit: Callable[[Callable[[dict[str, Any]], object]], None]) -> None:
    folder = bundle / "engines" / TARGET
    shutil.copy(folder / "fvp.plan", folder / "lm_head.plan")
    edit(lambda entry: entry.update(file=describe_file(folder / "lm_head.plan").model_dump()))
    with pytest.raises(
        BundleError, match=r"lm_head.plan is no engine of this graph; build it again:\n  tensor fvp_tokens"
    ):
        opened(bundle)


def test_no_memory_for_an_engine(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", "no memory for engines")
    with pytest.raises(ResourceError, match=r"lm_head.plan: the GPU's memory ran out while it was read"):
        opened(bundle)


def test_a_graph_of_another_bundle_is_refused(bundle: Path, engine_bundle: Path) -> None:
    entry = read_manifest(bundle).graph(GRAPH)
    with (
        TensorRTBackend(Bundle.read(bundle)) as backend,
        pytest.raises(InputError, match="this backend runs the engines of"),
    ):
        backend.open(entry.spec, engine_bundle / entry.file)


def test_weights_stay_on_the_host_only_where_that_was_built(bundle: Path) -> None:
    from hyperseg_export.engine.build import build_engines
    from hyperseg_export.engine.options import BuildOptions

    with pytest.raises(InputError, match="engine of graph lm_head was built without --weight-streaming"):
        opened(bundle, weight_streaming_bytes=1000)
    build_engines(bundle, BuildOptions(weight_streaming=True), [GRAPH], measure_parity=False)
    entry = read_manifest(bundle).graph(GRAPH)
    for budget, expected in ((1000, 1000), (1 << 40, None), (None, None)):
        with TensorRTBackend(Bundle.read(bundle), accept_unmeasured=True, weight_streaming_bytes=budget) as backend:
            graph: Any = backend.open(entry.spec, bundle / entry.file)
            engine = graph._engine
            assert engine.weight_streaming_budget_v2 == (expected or engine.streamable_weights_size) > 0


def test_a_bound_of_weights_that_tensorrt_refuses_is_told(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bindings raise nothing; without a word the whole weights would lie on the GPU."""
    from hyperseg_export.engine.build import build_engines
    from hyperseg_export.engine.options import BuildOptions

    build_engines(bundle, BuildOptions(weight_streaming=True), [GRAPH], measure_parity=False)
    monkeypatch.setenv("DOUBLE_FAULT", "refused budget")
    entry = read_manifest(bundle).graph(GRAPH)
    with (
        TensorRTBackend(Bundle.read(bundle), accept_unmeasured=True, weight_streaming_bytes=1000) as backend,
        pytest.raises(ResourceError, match=r"within 0\.00 GB; choose another --weights-gb(.|\n)*Failed to set"),
    ):
        backend.open(entry.spec, bundle / entry.file)


def test_stage_times_can_be_those_of_the_graphs(bundle: Path, gpu: ModuleType) -> None:
    entry = read_manifest(bundle).graph(GRAPH)
    hidden = np.zeros((1, 1, entry.spec.inputs[0].axes[2]), np.float32)  # type: ignore[arg-type]
    for overlap in (True, False):
        with TensorRTBackend(Bundle.read(bundle), overlap=overlap) as backend:
            graph = backend.open(entry.spec, bundle / entry.file)
            graph.run(scored(backend, hidden))
            waiting = any(s.pending for s in gpu.GPU.handles.values() if isinstance(s, gpu.Stream))
            assert waiting is overlap


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--backend", "tensorflow"],
            "unknown backend 'tensorflow'; choose onnxruntime, onnxruntime-cuda, openvino",
        ),
        (
            ["--backend", "tensorrt", "--threads", "2"],
            "threads goes with the backend onnxruntime or openvino; tensorrt takes accept_unmeasured",
        ),
        (["--accept-unmeasured"], "accept_unmeasured goes with the backend tensorrt; onnxruntime takes threads"),
        (["--backend", "tensorrt", "--weights-gb", "nan"], "--weights-gb is nan, expected a number of gigabytes"),
    ],
)
def test_options_of_another_backend(
    engine_bundle: Path, run_cli: RunCli, coffee: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run_cli("run", engine_bundle, coffee, "it", "--out", tmp_path, *arguments)
    assert result.code == 2 and message in result.err


def test_inspect_shows_the_engines(engine_bundle: Path, run_cli: RunCli) -> None:
    shown = run_cli("inspect", engine_bundle).out
    assert f"Engines for {TARGET} (Test GPU 80GB, TensorRT 11.4.0.106)" in shown
    assert "error / range of images 0.0e+00, allowed 1e-04" in shown
