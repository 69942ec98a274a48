"""A precision changes the types of caches in a contract and nothing else."""

import pytest

from hyperseg_runtime.contracts.graph_spec import DType
from hyperseg_runtime.contracts.precision import Precision, typed_spec
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions, graph_specs


@pytest.mark.parametrize("precision", Precision)
def test_only_caches_take_the_precision(real_dims: HypersegDimensions, precision: Precision) -> None:
    for spec in graph_specs(real_dims):
        typed = typed_spec(spec, precision)
        cached = {*spec.in_place, *spec.in_place.values()}
        for before, after in zip((*spec.inputs, *spec.outputs), (*typed.inputs, *typed.outputs), strict=True):
            assert (after.name, after.axes) == (before.name, before.axes)
            assert after.dtype == (precision.dtype if before.name in cached else before.dtype)
        assert bool(cached) == (spec.name == "llm")


def test_float32_is_what_it_was(real_dims: HypersegDimensions) -> None:
    assert all(typed_spec(spec, Precision.FP32) == spec for spec in graph_specs(real_dims))
    assert [precision.dtype for precision in Precision] == [DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16]
