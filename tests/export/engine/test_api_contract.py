"""Every TensorRT name in our sources is in the list of TensorRT 11.4's, so none is one that was removed."""

from pathlib import Path

import pytest

from api_contract import names, unknown_names

ROOT = Path(__file__).parents[3]
SOURCES = sorted(
    path
    for folder in ("export", "runtime", "kernels")
    for path in (ROOT / folder).rglob("*.py")
    if "trt." in path.read_text(encoding="utf-8")
)


def test_there_are_sources_to_look_at() -> None:
    assert ROOT / "export/hyperseg_export/engine/network.py" in SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_name_exists_in_tensorrt_11(path: Path) -> None:
    assert list(unknown_names(path.read_text(encoding="utf-8"), names("tensorrt"))) == []


def test_the_gate_uses_names_of_tensorrt_rtx() -> None:
    source = (ROOT / "benchmarks" / "rtx_gate.py").read_text(encoding="utf-8")
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
