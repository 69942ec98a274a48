"""What an engine's report says, and what of it is wrong."""

import json

import pytest

from hyperseg_export.engine.audit import judge_types, output_types, read_layers
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import AuditError


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        ("Half", "float16"),
        ("Row major linear FP16 format", "float16"),
        ("BFloat16", "bfloat16"),
        ("Row major linear BF16", "bfloat16"),
        ("Float", "float32"),
        ("FP8 E4M3", "float8"),
        ("Int64", "int64"),
        ("Complex", "Complex"),
        ("", "unknown"),
    ],
)
def test_types_are_read_from_their_descriptions(description: str, kind: str) -> None:
    assert output_types({"Outputs": [{"Format/Datatype": description}]}) == [kind]
    assert output_types({"Outputs": [{"DataType": description}]}) == [kind]


def test_a_layer_without_outputs_has_no_types() -> None:
    assert output_types({"Name": "nothing"}) == []


@pytest.mark.parametrize("report", ["", "{}", "[]", '{"Layers": []}', '{"Layers": ["only a name"]}'])
def test_a_report_without_types_is_refused(report: str) -> None:
    with pytest.raises(AuditError, match="inspector"):
        read_layers(report)


def test_layers_of_a_report_are_given() -> None:
    assert read_layers(json.dumps({"Layers": [{"Name": "a"}]})) == [{"Name": "a"}]


@pytest.mark.parametrize(
    ("types", "precision"),
    [
        ({"float32": 9, "int64": 2}, Precision.FP32),
        ({"float16": 5, "float32": 3, "bool": 1}, Precision.FP16),
        ({"bfloat16": 5, "float32": 3}, Precision.BF16),
    ],
)
def test_a_plan_that_is_held_has_no_problems(types: dict[str, int], precision: Precision) -> None:
    assert judge_types(types, precision) == []


@pytest.mark.parametrize(
    ("types", "precision", "problem"),
    [
        ({"float32": 9}, Precision.FP16, "no layer computes in float16; found: 9 float32"),
        ({"float32": 9, "float16": 1}, Precision.FP32, "1 layers compute in float16, planned were float32"),
        ({"bfloat16": 5, "float16": 2}, Precision.BF16, "2 layers compute in float16, planned were bfloat16"),
        ({"float16": 5, "int8": 2}, Precision.FP16, "2 layers compute in int8, planned were float16"),
        ({}, Precision.FP16, "no layer computes in float16; found: none"),
    ],
)
def test_what_differs_from_the_plan_is_a_problem(types: dict[str, int], precision: Precision, problem: str) -> None:
    (found,) = judge_types(types, precision)
    assert found.startswith(problem)
