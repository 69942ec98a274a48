"""Reports of every release are read; what they do not tell is "unknown". Fixtures name their sources."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine_graphs import convolution, opened
from hyperseg_export.engine.inspector import UNKNOWN, inspect_layers, read_layers, tensor_type, typical_context
from hyperseg_runtime.errors import AuditError
from support import forget_doubles

REPORTS = sorted((Path(__file__).parent / "inspector").glob("*.json"))


def report(name: str) -> str:
    content = json.loads((Path(__file__).parent / "inspector" / f"{name}.json").read_text())
    return json.dumps(content["report"])


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_every_fixture_names_its_sources(path: Path) -> None:
    assert len(json.loads(path.read_text())["sources"]) > 1


@pytest.mark.parametrize("name", ["trt10.16-context", "trt11.1"])
def test_both_schemas_say_the_same(name: str) -> None:
    layers = read_layers(report(name))
    assert [layer.outputs for layer in layers] == [("bfloat16",), ("bfloat16",), ("bfloat16",), ("float32",)]
    assert [layer.weights for layer in layers] == [(), ("bfloat16", "bfloat16"), ("bfloat16",), ()]


def test_without_shapes_the_weights_are_known_still() -> None:
    copied, convolved = read_layers(report("trt10.15-no-context"))
    assert copied.outputs == convolved.outputs == (UNKNOWN,)
    assert convolved.weights == ("bfloat16", "bfloat16")


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        ("Half", "float16"),
        ("Row major linear FP16 format (kLINEAR)", "float16"),
        ("BFloat16", "bfloat16"),
        ("Row major linear BFloat16 format", "bfloat16"),
        ("Float", "float32"),
        ("FP8", "float8"),
        ("Row major linear UInt8 format", "uint8"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Int64", "int64"),
        ("Boolean", "bool"),
        ("Complex", "Complex"),
        ("N/A due to dynamic shapes", UNKNOWN),
        ("", UNKNOWN),
    ],
)
@pytest.mark.parametrize("field", ["Datatype", "Format/Datatype", "DataType"])
def test_types_are_read_from_their_descriptions(description: str, kind: str, field: str) -> None:
    assert tensor_type({"Name": "x", field: description}) == kind


def test_a_tensor_without_any_field_is_unknown() -> None:
    assert tensor_type({"Name": "x", "Format": "Row major linear FP16 format"}) == UNKNOWN


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"Layers": []}', '{"Layers": ["only a name"]}'])
def test_a_report_without_types_is_refused(text: str) -> None:
    with pytest.raises(AuditError, match="inspector"):
        read_layers(text)


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize("version", ["10.15.1.29", "10.16.0.72", "11.1.0.1", "11.4.0.106"])
def test_every_release_tells_the_types_of_all_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("DOUBLE_VERSION", version)
    forget_doubles()
    trt, engine = opened(convolution(tmp_path / "small.onnx"), profiles=2)
    profiles = inspect_layers(trt, engine)
    assert [[layer.outputs for layer in layers] for layers in profiles] == 2 * [
        [("bfloat16",), ("bfloat16",), ("float32",)]
    ]


@pytest.mark.usefixtures("tensorrt_double")
def test_without_a_context_types_are_unknown_and_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_VERSION", "10.16.0.72")
    monkeypatch.setenv("DOUBLE_FAULT", "no memory for contexts")
    forget_doubles()
    trt, engine = opened(convolution(tmp_path / "small.onnx"))
    assert typical_context(trt, engine, 0) is None
    (layers,) = inspect_layers(trt, engine)
    assert [layer.outputs for layer in layers] == [("bfloat16",), (UNKNOWN,), ("float32",)]


@pytest.mark.usefixtures("tensorrt_double")
def test_a_context_for_inspection_takes_no_memory(tmp_path: Path) -> None:
    trt, engine = opened(convolution(tmp_path / "small.onnx"))
    asked: list[Any] = []
    create = engine.create_execution_context
    engine.__dict__["create_execution_context"] = lambda strategy: asked.append(strategy) or create(strategy)
    inspect_layers(trt, engine)
    assert asked == [trt.ExecutionContextAllocationStrategy.USER_MANAGED]
