"""Bundle to engines with a double of TensorRT: what is written, what is kept, what goes wrong and how it is said."""

import fcntl
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyperseg_export.engine.build import build_engines
from hyperseg_export.engine.options import BuildOptions
from hyperseg_runtime.bundle.engines import engine_folder, engine_path, read_engines
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import (
    AuditError,
    BundleError,
    EngineError,
    EnvironmentMissingError,
    OutputError,
    ResourceError,
)
from support import RunCli

PROFILES = {"llm": ("prefill", "suffix", "decode"), "lm_head": ("prefill", "decode")}
TARGET = "sm90-trt11.4-test-gpu-80gb"
FAST = ("fvp", "llm", "lm_head")


@pytest.fixture
def bundle(mixed_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mixed_bundle, tmp_path / "bundle"))


build = partial(build_engines, measure_parity=False)
"""What these tests are about comes before the comparison."""


def files(bundle: Path) -> set[str]:
    folder = engine_folder(bundle, TARGET)
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@pytest.mark.usefixtures("tensorrt_double")
def test_every_graph_becomes_an_engine_with_its_types(bundle: Path, run_cli: RunCli) -> None:
    result = run_cli("build", bundle, "--json")
    assert result.code == 0, result.err
    made = json.loads(result.out)
    assert made["machine"]["compute_capability"] == [9, 0] and made["machine"]["tensorrt"] == "11.4.0.106"
    graphs = [entry.spec.name for entry in read_manifest(bundle).graphs]
    assert [engine["graph"] for engine in made["engines"]] == graphs
    assert files(bundle) == {"engines.json", "timing.cache", *(f"{name}.plan" for name in graphs)}
    manifest = read_engines(engine_folder(bundle, TARGET))
    assert manifest is not None
    for entry in manifest.engines:
        assert engine_path(engine_folder(bundle, TARGET), entry).is_file()
        wide = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.BF16: "bfloat16"}
        assert entry.layer_types[wide[entry.precision]] > 0
        assert entry.profiles == PROFILES.get(entry.graph, ("latency",))
        assert entry.parity and {row.engine for row in entry.parity} == {"tensorrt"}
        assert all(row.passed for row in entry.parity)
        assert entry.changed_files(read_manifest(bundle)) == set()


@pytest.mark.usefixtures("tensorrt_double")
def test_a_second_build_keeps_what_is_there(bundle: Path) -> None:
    first = build(bundle, BuildOptions(), FAST)
    (engine_folder(bundle, TARGET) / "fvp.plan").unlink()
    times = {name: (engine_folder(bundle, TARGET) / f"{name}.plan").stat().st_mtime_ns for name in ("llm", "lm_head")}
    second = build(bundle, BuildOptions(), FAST)
    assert {entry.graph for entry in second.engines} == set(FAST) == {entry.graph for entry in first.engines}
    assert {n: (engine_folder(bundle, TARGET) / f"{n}.plan").stat().st_mtime_ns for n in times} == times


@pytest.mark.usefixtures("tensorrt_double")
def test_other_options_build_again(bundle: Path) -> None:
    first = build(bundle, BuildOptions(), ["lm_head"]).engines[0]
    second = build(bundle, BuildOptions(level=5), ["lm_head"]).engines[0]
    assert first.key != second.key


@pytest.mark.usefixtures("tensorrt_double")
def test_a_killed_build_goes_on(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", "killed at lm_head")
    with pytest.raises(ResourceError, match="graph lm_head: the build was killed, most likely because the host's"):
        build(bundle, BuildOptions(), FAST)
    assert {name for name in files(bundle) if name.endswith(".plan")} == {"fvp.plan", "llm.plan"}
    (engine_folder(bundle, TARGET) / ".lm_head.123.plan.partial").touch()
    (engine_folder(bundle, TARGET) / ".reference").mkdir()
    monkeypatch.delenv("DOUBLE_FAULT")
    assert len(build(bundle, BuildOptions(), FAST).engines) == 3
    assert files(bundle) == {"engines.json", "timing.cache", *(f"{name}.plan" for name in FAST)}


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("out of memory", ResourceError, r"graph llm: memory ran out during the build; try a smaller --workspace-gb"),
        ("float32 instead", AuditError, r"no layer computes in bfloat16; found: .* float32"),
        ("copied cache", AuditError, r"present_key.0 is not written into the memory of past_key.0"),
    ],
)
def test_a_failure_leaves_no_engine(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, fault: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", fault)
    with pytest.raises(error, match=message):
        build(bundle, BuildOptions(), ["llm"])
    assert not {name for name in files(bundle) if name.endswith((".plan", ".partial", ".json"))}


@pytest.mark.usefixtures("tensorrt_double")
def test_a_failed_audit_has_its_own_exit_code(bundle: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", "float32 instead")
    result = run_cli("build", bundle, "--graph", "lm_head")
    assert result.code == 8 and "lm_head is not what was planned" in result.err


@pytest.mark.usefixtures("tensorrt_double")
def test_changed_onnx_is_found_before_a_build(bundle: Path) -> None:
    path = bundle / "graphs" / "lm_head.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"the content of graphs/lm_head.onnx differs from the manifest's hash"):
        build(bundle, BuildOptions(), ["lm_head"])
    assert files(bundle) == set()


@pytest.mark.usefixtures("tensorrt_double")
def test_a_corrupt_plan_is_found_and_built_again(bundle: Path) -> None:
    entry = build(bundle, BuildOptions(), ["lm_head"]).engines[0]
    plan = engine_folder(bundle, TARGET) / "lm_head.plan"
    good = plan.read_bytes()
    plan.write_bytes(good[:-1])
    with pytest.raises(BundleError, match=r"lm_head.plan: missing or changed since it was built"):
        engine_path(engine_folder(bundle, TARGET), entry)
    build(bundle, BuildOptions(), ["lm_head"])
    assert plan.read_bytes() == good


@pytest.mark.usefixtures("tensorrt_double")
def test_a_corrupt_list_of_engines_is_named(bundle: Path) -> None:
    build(bundle, BuildOptions(), ["lm_head"])
    (engine_folder(bundle, TARGET) / "engines.json").write_text("{")
    with pytest.raises(BundleError, match="not a list of engines"):
        build(bundle, BuildOptions(), ["lm_head"])


@pytest.mark.usefixtures("tensorrt_double")
def test_a_full_disk_is_told_before_the_build(bundle: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    result = run_cli("build", bundle, "--graph", "lm_head")
    assert result.code == 7 and "the disk has 0.0 GB free" in result.err
    assert not (bundle / "engines").exists()


@pytest.mark.usefixtures("tensorrt_double")
def test_what_is_there_needs_no_room(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(bundle, BuildOptions(), ["lm_head"])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    assert build(bundle, BuildOptions(), ["lm_head"]).engine("lm_head")


@pytest.mark.usefixtures("tensorrt_double")
def test_memory_that_runs_out_in_the_worker_has_its_exit_code(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", "no host memory")
    result = run_cli("build", bundle, "--graph", "lm_head", "--skip-parity")
    assert result.code == 7 and "the host's memory ran out" in result.err
    assert not (bundle / "engines").exists()


@pytest.mark.usefixtures("tensorrt_double")
def test_two_builds_at_once_are_refused(bundle: Path) -> None:
    folder = engine_folder(bundle, TARGET)
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another build is writing here"):
            build(bundle, BuildOptions(), ["lm_head"])


@pytest.mark.usefixtures("tensorrt_double")
def test_another_architecture_has_a_folder_of_its_own(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(bundle, BuildOptions(), ["lm_head"])
    monkeypatch.setenv("DOUBLE_CAPABILITY", "8.9")
    build(bundle, BuildOptions(), ["lm_head"])
    assert {path.name for path in (bundle / "engines").iterdir()} == {TARGET, "sm89-trt11.4-test-gpu-80gb"}


@pytest.mark.usefixtures("tensorrt_double")
def test_another_model_of_the_architecture_too_but_not_another_driver(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(bundle, BuildOptions(), ["lm_head"])
    monkeypatch.setenv("DOUBLE_DRIVER", "13010")
    renewed = build(bundle, BuildOptions(), ["lm_head"])
    assert renewed.engines == first.engines and renewed.machine.driver_cuda == "13.1"
    monkeypatch.setenv("DOUBLE_GPU_NAME", "Test GPU 40GB")
    build(bundle, BuildOptions(), ["lm_head"])
    assert {path.name for path in (bundle / "engines").iterdir()} == {TARGET, "sm90-trt11.4-test-gpu-40gb"}


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize("version", ["10.13.0.35", "12.0.0.1"])
def test_a_release_that_cannot_be_used_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("DOUBLE_VERSION", version)
    with pytest.raises(EnvironmentMissingError, match=rf"TensorRT 10.15 to 11.x is needed, found {version}"):
        build(bundle, BuildOptions())
    assert not (bundle / "engines").exists()


@pytest.mark.usefixtures("tensorrt_double")
def test_a_machine_without_gpu_is_told_so(bundle: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli) -> None:
    monkeypatch.setenv("DOUBLE_GPUS", "0")
    result = run_cli("build", bundle)
    assert result.code == 3 and "CUDA finds 0 here" in result.err
    assert not (bundle / "engines").exists()


def test_a_machine_without_tensorrt_is_told_so(bundle: Path, run_cli: RunCli) -> None:
    """This one: nothing is written, one line says what to install."""
    before = sorted(bundle.rglob("*"))
    result = run_cli("build", bundle)
    assert result.code == 3 and result.out == ""
    assert len(result.err.strip().splitlines()) == 1 and "pip install 'hyperseg-trt[trt]'" in result.err
    assert sorted(bundle.rglob("*")) == before


@pytest.mark.usefixtures("tensorrt_double")
def test_an_unreadable_graph_is_an_engine_error(bundle: Path, rehash_all: None) -> None:
    with pytest.raises(EngineError, match=r"graph lm_head: TensorRT 11.4.0.106 cannot read it:\n.*cannot be decoded"):
        build(bundle, BuildOptions(), ["lm_head"])


@pytest.fixture
def rehash_all(bundle: Path) -> None:
    """An ONNX file that is none, with the right hash."""
    from hyperseg_runtime.bundle.opening import describe_file

    path = bundle / "graphs" / "lm_head.onnx"
    path.write_bytes(b"no graph")
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["files"]["graphs/lm_head.onnx"] = describe_file(path).model_dump()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_dry_run_needs_nothing(bundle: Path, run_cli: RunCli) -> None:
    result = run_cli("build", bundle, "--dry-run", "--json")
    plan = {engine["graph"]: engine for engine in json.loads(result.out)["engines"]}
    assert result.code == 0 and list(plan) == [entry.spec.name for entry in read_manifest(bundle).graphs]
    llm = plan["llm"]
    assert llm["precision"] == "bf16" and [p["name"] for p in llm["profiles"]] == ["prefill", "suffix", "decode"]
    assert llm["plan_bytes"] == [llm["weight_bytes"], 3 * llm["weight_bytes"]]
    assert llm["weight_bytes"] == 2 * read_manifest(bundle).graph("llm").parameters


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--profile", "fast"], 2, "choose latency, throughput, video"),
        (["--graph", "decoder"], 2, "has no graph decoder"),
        (["--workspace-gb", "nan"], 2, "--workspace-gb is nan, expected a number of gigabytes"),
        (["--workspace-gb", "inf"], 2, "--workspace-gb is inf"),
        (["--workspace-gb", "-1"], 2, "--workspace-gb is -1.0"),
    ],
)
def test_a_dry_run_of_what_does_not_exist(
    bundle: Path, run_cli: RunCli, arguments: list[str], code: int, message: str
) -> None:
    result = run_cli("build", bundle, "--dry-run", *arguments)
    assert result.code == code and message in result.err
