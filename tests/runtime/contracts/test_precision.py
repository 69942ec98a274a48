"""A precision changes the types of caches in a contract and nothing else."""

import pytest

from hyperseg_runtime.contracts.graph_spec import DType
from hyperseg_runtime.contracts.precision import Precision, typed_spec
from hyperseg_runtime.families import FAMILIES

SPECS = [spec for family in FAMILIES.values() for spec in family.graph_specs(family.published)]


@pytest.mark.parametrize("precision", Precision)
def test_only_caches_take_the_precision(precision: Precision) -> None:
    assert any(spec.in_place for spec in SPECS)
    for spec in SPECS:
        typed = typed_spec(spec, precision)
        cached = {*spec.in_place, *spec.in_place.values()}
        for before, after in zip((*spec.inputs, *spec.outputs), (*typed.inputs, *typed.outputs), strict=True):
            assert (after.name, after.axes) == (before.name, before.axes)
            assert after.dtype == (precision.dtype if before.name in cached else before.dtype)


def test_float32_is_what_it_was() -> None:
    assert all(typed_spec(spec, Precision.FP32) == spec for spec in SPECS)
    assert [precision.dtype for precision in Precision] == [DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16]
