"""Engines against their graphs: what passes, what is thrown away."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.adapters.swap import swap_adapter
from hyperseg_export.engine.build import build_engines
from hyperseg_export.engine.options import BuildOptions
from hyperseg_export.parity.reference import record_calls
from hyperseg_export.parity.saved_calls import read_calls
from hyperseg_export.samples import sample_images
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.backends.tensorrt import TensorRTBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import BundleError, InputError, NumericsError, ParityError
from support import RunCli

TARGET = "sm90-trt11.4-test-gpu-80gb"


@pytest.fixture
def bundle(mixed_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mixed_bundle, tmp_path / "bundle"))


def left(bundle: Path) -> tuple[set[str], list[str]]:
    """Files of the target, and what its list names."""
    folder = bundle / "engines" / TARGET
    listed = [entry["graph"] for entry in json.loads((folder / "engines.json").read_bytes())["engines"]]
    return {path.name for path in folder.iterdir()}, listed


def test_the_reference_uses_every_profile(mixed_bundle: Path, tmp_path: Path) -> None:
    record_calls(Bundle.open(mixed_bundle), ["llm"], sample_images()[0], tmp_path)
    calls = list(read_calls(tmp_path, "llm"))
    tokens = [call.inputs["inputs_embeds"].shape[1] for call in calls]
    written = [int(call.inputs["write_indices"][0]) for call in calls]
    assert (
        1 in tokens
        and max(tokens) > 100
        and any(first > 0 and count > 1 for first, count in zip(written, tokens, strict=True))
    )
    assert all(array.dtype != np.float16 for call in calls for array in (call.inputs | call.outputs).values())
    assert not calls[0].inputs["past_key.0"].any() and calls[0].outputs["present_key.0"].any()


@pytest.mark.usefixtures("tensorrt_double")
def test_an_engine_is_compared_in_its_number_format(bundle: Path) -> None:
    (engine,) = build_engines(bundle, BuildOptions(), ["lm_head"]).engines
    assert engine.parity is not None
    assert [(row.measure, row.tolerance) for row in engine.parity] == [
        ("cosine distance", 5e-3),
        ("decision regret", 2e-2),
    ]
    assert left(bundle) == ({"engines.json", "timing.cache", "lm_head.plan"}, ["lm_head"])


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("nan", NumericsError, r"graph lm_head: the bf16 engine gives NaN .* --precision-of lm_head=fp32"),
        ("wrong numbers", ParityError, r"graph lm_head: output logits differs from its ONNX graph, .*thrown away"),
        ("wrong replay", ParityError, r"graph lm_head: output logits differs from its ONNX graph"),
    ],
)
def test_an_engine_that_computes_something_else_is_thrown_away(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, fault: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", fault)
    with pytest.raises(error, match=message):
        build_engines(bundle, BuildOptions(), ["lm_head"])
    assert left(bundle) == ({"engines.json", "timing.cache"}, [])


@pytest.mark.usefixtures("tensorrt_double")
def test_a_replay_that_does_not_write_its_caches_is_found(
    kept_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Path(shutil.copytree(kept_bundle, tmp_path / "kept"))
    monkeypatch.setenv("DOUBLE_FAULT", "replay without caches")
    with pytest.raises(ParityError, match=r"graph llm: output present_\w+\.\d+ differs from its ONNX graph"):
        build_engines(bundle, BuildOptions(), ["llm"])


@pytest.mark.usefixtures("tensorrt_double")
def test_every_engine_that_fails_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", "nan")
    with pytest.raises(NumericsError, match=r"(?s)graph lm_head: .*graph fvp: "):
        build_engines(bundle, BuildOptions(), ["lm_head", "fvp"])
    assert left(bundle) == ({"engines.json", "timing.cache"}, [])


@pytest.mark.usefixtures("tensorrt_double")
def test_an_engine_without_comparison_gets_it_later(bundle: Path, run_cli: RunCli) -> None:
    first = run_cli("build", bundle, "--graph", "lm_head", "--skip-parity")
    assert first.code == 0 and "not measured" in first.out
    changed = (bundle / "engines" / TARGET / "lm_head.plan").stat().st_mtime_ns
    second = run_cli("build", bundle, "--graph", "lm_head")
    assert second.code == 0 and "built earlier, kept" in second.err and "not measured" not in second.out
    assert (bundle / "engines" / TARGET / "lm_head.plan").stat().st_mtime_ns == changed


@pytest.mark.usefixtures("tensorrt_double")
def test_a_plan_without_weights_gets_them_from_the_graph(bundle: Path) -> None:
    (engine,) = build_engines(bundle, BuildOptions(stripped=True), ["lm_head"]).engines
    assert engine.stripped and engine.parity is not None


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize("fault", ["", "combined weights"])
def test_an_adapter_is_swapped_without_a_build(
    kept_bundle: Path, adapters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The engine gets the factors that lie in the bundle, by the names in its manifest, and what belongs to them."""
    bundle = Path(shutil.copytree(kept_bundle, tmp_path / "kept"))
    build_engines(bundle, BuildOptions(refit=True), ["llm"])
    record_calls(Bundle.open(bundle), ["llm"], sample_images()[0], tmp_path)
    entry = swap_adapter(bundle, adapters / "second").graph("llm")
    call = next(read_calls(tmp_path, "llm"))
    path = bundle / entry.file

    def hidden(backend: TensorRTBackend | OnnxRuntimeBackend) -> np.ndarray:
        inputs = {name: backend.upload(array) for name, array in call.inputs.items()}
        return backend.open(entry.spec, path).run(inputs)["hidden_states"].to_host()

    with (
        TensorRTBackend(Bundle.read(bundle)) as backend,
        pytest.raises(BundleError, match=r"another adapter .*--accept-unmeasured"),
    ):
        backend.open(entry.spec, path)
    monkeypatch.setenv("DOUBLE_FAULT", fault)
    with (
        TensorRTBackend(Bundle.read(bundle), accept_unmeasured=True) as backend,
        OnnxRuntimeBackend(threads=1) as reference,
    ):
        np.testing.assert_array_equal(hidden(backend), hidden(reference))
        assert not np.allclose(hidden(reference), call.outputs["hidden_states"], atol=1e-3)


@pytest.mark.usefixtures("tensorrt_double")
def test_a_plan_without_weights_takes_no_other_adapter(kept_bundle: Path, adapters: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(kept_bundle, tmp_path / "kept"))
    build_engines(bundle, BuildOptions(stripped=True), ["llm"], measure_parity=False)
    entry = swap_adapter(bundle, adapters / "second").graph("llm")
    with (
        TensorRTBackend(Bundle.read(bundle), accept_unmeasured=True) as backend,
        pytest.raises(BundleError, match="takes back only those it was built from, but the bundle has another adapter"),
    ):
        backend.open(entry.spec, bundle / entry.file)


@pytest.mark.usefixtures("tensorrt_double")
def test_fixed_weights_cannot_be_exchanged(kept_bundle: Path, adapters: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(kept_bundle, tmp_path / "kept"))
    build_engines(bundle, BuildOptions(), ["llm"], measure_parity=False)
    entry = swap_adapter(bundle, adapters / "second").graph("llm")
    with (
        TensorRTBackend(Bundle.read(bundle), accept_unmeasured=True) as backend,
        pytest.raises(InputError, match="engine llm was built with fixed weights; build it again with --refit"),
    ):
        backend.open(entry.spec, bundle / entry.file)
