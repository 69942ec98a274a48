"""Every name of TensorRT and CUDA in our sources is in the list of the real ones, so none is one that was removed."""

import inspect
from pathlib import Path

import pytest

from api_contract import cuda_names, names, takes, unknown_cuda, unknown_names, wrong_arguments

ROOT = Path(__file__).parents[3]
SOURCES = sorted(
    path
    for folder in ("export", "runtime", "kernels")
    for path in (ROOT / folder).rglob("*.py")
    if "trt." in path.read_text(encoding="utf-8")
)


CREATED = {"Builder", "OnnxParser", "Runtime", "Refitter", "OnnxParserRefitter", "Weights"}
"""Classes that programs make objects of; the rest comes from the library."""
CUDA_SOURCES = sorted(
    path for path in (ROOT / "runtime").rglob("*.py") if "cudart." in path.read_text(encoding="utf-8")
)


def test_there_are_sources_to_look_at() -> None:
    assert ROOT / "export/hyperseg_export/engine/network.py" in SOURCES
    assert ROOT / "runtime/hyperseg_runtime/backends/tensorrt/graph.py" in SOURCES
    assert {"device.py", "streams.py", "cuda_graphs.py", "machine.py"} <= {path.name for path in CUDA_SOURCES}


@pytest.mark.parametrize("path", CUDA_SOURCES, ids=lambda path: path.stem)
def test_every_name_exists_in_cuda(path: Path) -> None:
    assert list(unknown_cuda(path.read_text(encoding="utf-8"), cuda_names())) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "cudart.cudaMallocs(1)",
        "self.cudart.cudaMalloc(1, 2)",
        "self._cudart.cudaStreamWaitEvent(a, b)",
        "cudart.cudaFree(*places)",
        "cudart.cudaMemcpyKind.cudaMemcpyUp",
    ],
)
def test_what_cuda_lacks_is_found(wrong: str) -> None:
    assert len(list(unknown_cuda(wrong, cuda_names()))) == 1


@pytest.mark.usefixtures("tensorrt_double")
def test_the_double_takes_the_arguments_of_cuda() -> None:
    from cuda.bindings import runtime

    known = cuda_names()
    for name, value in vars(runtime).items():
        if name.startswith("cuda") and inspect.isfunction(value):
            assert len(inspect.signature(value).parameters) == len(known[name]), name
        elif name.startswith("cuda"):
            numbers = {member.name: int(member) for member in value} if isinstance(value, type) else None
            assert numbers.items() <= known[name].items() if numbers else value == known[name], name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_name_exists_in_tensorrt_11(path: Path) -> None:
    assert list(unknown_names(path.read_text(encoding="utf-8"), names("tensorrt"))) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_call_has_as_many_arguments_as_tensorrt_takes(path: Path) -> None:
    assert list(wrong_arguments(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "wrong", ["context.execute_async_v3()", "trt.Runtime()", "engine.get_tensor_profile_shape('x')", "trt.Refitter(1)"]
)
def test_a_wrong_number_of_arguments_is_found(wrong: str) -> None:
    assert len(list(wrong_arguments(wrong))) == 1


@pytest.mark.usefixtures("tensorrt_double")
def test_the_double_takes_the_arguments_of_tensorrt() -> None:
    import tensorrt

    for owner, kind in vars(tensorrt).items():
        for name, method in vars(kind).items() if inspect.isclass(kind) else ():
            if inspect.isfunction(method) and (name == "__init__" or not name.startswith("_")):
                count = len(inspect.signature(method).parameters) - 1
                made_by_us = name == "__init__" and owner not in CREATED
                assert made_by_us or takes(owner, name, count), f"{owner}.{name}"


def test_the_gate_uses_names_of_tensorrt_rtx() -> None:
    source = (ROOT / "benchmarks" / "graphs" / "rtx_gate.py").read_text(encoding="utf-8")
    assert list(unknown_names(source, names("tensorrt_rtx"))) == []


@pytest.mark.parametrize(
    "removed",
    [
        "config.set_flag(trt.BuilderFlag.FP16)",
        "builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH_))",
        "builder.platform_has_fast_fp16",
        "config.int8_calibrator = None",
        "layer.precision = trt.DataType.HALF",
        "builder.build_engine(network, config)",
        "config.max_workspace_size = 1",
        "engine.get_binding_index('x')",
        "context.execute_async_v2([], 0)",
        "engine.weight_streaming_budget",
        "trt.IInt8EntropyCalibrator2",
    ],
)
def test_what_was_removed_is_found(removed: str) -> None:
    assert len(list(unknown_names(removed, names("tensorrt")))) == 1


def test_arguments_by_name_are_found() -> None:
    assert list(unknown_names("builder.create_network(flags=0)", names("tensorrt"))) == [
        "line 1: create_network with arguments by name; pass them by position"
    ]
