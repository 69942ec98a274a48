"""What of an engine's report is wrong, and what it cannot tell."""

import pytest

from hyperseg_export.engine.audit import judge_types
from hyperseg_export.engine.inspector import UNKNOWN, Layer
from hyperseg_runtime.bundle.quantization import RoundedEntry
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.contracts.quantization import Scheme


def layers(outputs: dict[str, int], weights: tuple[str, ...] = ()) -> list[Layer]:
    """A layer per output, and one that holds the weights."""
    made = [Layer(f"{kind} {n}", "kgen", "", (kind,), ()) for kind, count in outputs.items() for n in range(count)]
    return [*made, Layer("holds weights", "CaskConvolution", "", (), weights)]


@pytest.mark.parametrize(
    ("types", "weights", "precision"),
    [
        ({"float32": 9, "int64": 2}, (), Precision.FP32),
        ({"float16": 5, "float32": 3, "bool": 1}, (), Precision.FP16),
        ({"bfloat16": 5, "float32": 3}, ("float32",), Precision.BF16),
        ({UNKNOWN: 5, "float32": 3}, ("bfloat16",), Precision.BF16),
        ({"float32": 3}, ("bfloat16",), Precision.BF16),
        ({UNKNOWN: 5}, (), Precision.BF16),
    ],
)
def test_a_plan_that_is_held_has_no_problems(
    types: dict[str, int], weights: tuple[str, ...], precision: Precision
) -> None:
    assert judge_types(layers(types, weights), precision) == []


@pytest.mark.parametrize("scheme", Scheme)
def test_a_quantised_graph_has_layers_of_its_type(scheme: Scheme) -> None:
    rounded = RoundedEntry(scheme=scheme, range_method=None, smoothed=0, block=None, products=2, left_wide={})
    kind = {Scheme.FP8: "float8", Scheme.INT4: "int4"}.get(scheme, "int8")
    assert judge_types(layers({"float16": 3}, (kind, kind)), Precision.FP16, (), rounded) == []
    assert judge_types(layers({"float16": 3, kind: 2}), Precision.FP16, (), rounded) == []
    (missing,) = judge_types(layers({"float16": 3}), Precision.FP16, (), rounded)
    assert missing.startswith(f"no layer computes in {kind}")
    (foreign,) = judge_types(layers({"float16": 3, kind: 2}), Precision.FP16)
    assert foreign.startswith(f"2 layers compute in {kind}, planned were float16")


def test_bytes_are_for_inputs_and_outputs_that_are_bytes() -> None:
    found = layers({"float32": 3, "uint8": 1})
    assert judge_types(found, Precision.FP32, {"float32", "uint8"}) == []
    assert judge_types(found, Precision.FP32, {"float32"}) == [
        "1 layers compute in uint8, planned were float32 and float32"
    ]


@pytest.mark.parametrize(
    ("types", "weights", "precision", "problem"),
    [
        ({"float32": 9}, (), Precision.FP16, "no layer computes in float16; found: 9 float32"),
        ({"float32": 9, "float16": 1}, (), Precision.FP32, "1 layers compute in float16, planned were float32"),
        ({"bfloat16": 5, "float16": 2}, (), Precision.BF16, "2 layers compute in float16, planned were bfloat16"),
        ({"float16": 5, "int8": 2}, (), Precision.FP16, "2 layers compute in int8, planned were float16"),
        ({}, (), Precision.FP16, "no layer computes in float16; found: none"),
        ({UNKNOWN: 5, "float16": 1}, (), Precision.BF16, "1 layers compute in float16, planned were bfloat16"),
        ({UNKNOWN: 5}, ("float16",), Precision.BF16, "1 weights are float16, planned were bfloat16 and float32"),
    ],
)
def test_what_differs_from_the_plan_is_a_problem(
    types: dict[str, int], weights: tuple[str, ...], precision: Precision, problem: str
) -> None:
    (found,) = judge_types(layers(types, weights), precision)
    assert found.startswith(problem)
