from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.errors import InputError


@pytest.mark.parametrize("sizes", [(0, 1, 1), (-1, 1, 2), (2, 1, 3), (1, 4, 3), (3, 3, 2)])
def test_axis_range_must_be_ordered_and_positive(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValidationError, match="need 1 <= minimum <= typical <= maximum"):
        AxisRange(minimum=sizes[0], typical=sizes[1], maximum=sizes[2])


@pytest.mark.parametrize("change", [{"step": 0}, {"step": 3}, {"maximum": 9}])
def test_sizes_of_a_range_are_multiples_of_its_step(change: dict[str, int]) -> None:
    sizes = {"minimum": 2, "typical": 4, "maximum": 8, "step": 2}
    assert [AxisRange(**sizes).stand_in(rank) for rank in (1, 2, 4)] == [2, 4, 6]
    with pytest.raises(ValidationError, match="multiples of a step"):
        AxisRange(**{**sizes, **change})


def test_a_step_of_one_goes_without_saying() -> None:
    plain, stepped = AxisRange(minimum=2, typical=2, maximum=4), AxisRange(minimum=2, typical=2, maximum=4, step=2)
    assert "step" not in plain.model_dump() and stepped.model_dump()["step"] == 2
    assert [AxisRange.model_validate_json(one.model_dump_json()) for one in (plain, stepped)] == [plain, stepped]


def test_a_size_between_two_steps_is_refused() -> None:
    stepped = AxisRange(minimum=2, typical=2, maximum=4, step=2)
    spec = GraphSpec.model_validate({**fields(), "axis_ranges": {"batch": stepped}})
    spec.check_inputs(arrays(4))
    with pytest.raises(InputError, match="axis batch of x is 3, allowed are multiples of 2"):
        spec.check_inputs(arrays(3))


def test_contracts_cannot_be_changed_and_know_no_other_fields() -> None:
    spec = graph()
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "other"
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TensorSpec.model_validate({"name": "x", "dtype": "float32", "axes": [1], "layout": "NCHW"})


def test_tensor_reads_as_name_type_and_axes() -> None:
    assert str(tensor("images", "batch", 3)) == "images float32 (batch, 3)"


def test_round_trip_through_json() -> None:
    spec = graph()
    assert GraphSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("change", [{"outputs": ("x",)}, {"inputs": ("x", "x")}])
def test_a_tensor_name_is_used_once(change: dict[str, Any]) -> None:
    tensors = {side: tuple(tensor(name, "batch") for name in names) for side, names in change.items()}
    with pytest.raises(ValidationError, match="a tensor name is used twice"):
        GraphSpec.model_validate({**fields(), **tensors, "in_place": {}})


def test_every_axis_has_a_range_and_every_range_an_axis() -> None:
    for ranges in ({}, {**fields()["axis_ranges"], "tokens": BATCH}):
        with pytest.raises(ValidationError, match=r"axes \['batch'\] but ranges"):
            GraphSpec.model_validate({**fields(), "axis_ranges": ranges})


@pytest.mark.parametrize(
    "in_place",
    [
        {"hidden": "past"},  # other axes
        {"counts": "past"},  # other type
        {"past": "present"},  # the wrong way round
        {"present": "present"},
        {"present": "nowhere"},
        {"nowhere": "past"},
        {"present": "past", "present2": "past"},  # two outputs in one place
    ],
)
def test_sharing_memory_needs_an_output_and_an_input_of_one_kind(in_place: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        GraphSpec.model_validate({**fields(), "in_place": in_place})


def test_inputs_that_fit_are_accepted_with_any_size_in_range() -> None:
    for batch in (1, 4):
        graph().check_inputs(arrays(batch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "x float32 (batch, 3) is missing"),
        ({"y": np.zeros(1, np.float32)}, "y is not an input; inputs are x, past"),
        ({"x": np.zeros((2, 3))}, "expected x float32 (batch, 3), got float64 (2, 3)"),
        ({"x": np.zeros((2, 4), np.float32)}, "expected x float32 (batch, 3), got float32 (2, 4)"),
        ({"x": np.zeros((2, 3, 1), np.float32)}, "expected x float32 (batch, 3), got float32 (2, 3, 1)"),
        ({"x": np.zeros((1, 3), np.float32)}, "axis batch is 1 in x but 2 in past"),
        ({name: np.zeros((5, 3), np.float32) for name in ("x", "past")}, "axis batch of x is 5, allowed 1..4"),
        ({name: np.zeros((0, 3), np.float32) for name in ("x", "past")}, "axis batch of x is 0, allowed 1..4"),
    ],
)
def test_inputs_that_do_not_fit_are_named(change: dict[str, np.ndarray | None], message: str) -> None:
    altered: dict[str, np.ndarray | None] = {**arrays(2), **change}
    given = {name: array for name, array in altered.items() if array is not None}
    with pytest.raises(InputError) as caught:
        graph().check_inputs(given)
    assert message in str(caught.value) and str(caught.value).startswith("graph g cannot run:")


def test_an_axis_derived_from_others_takes_their_sizes() -> None:
    spec = derived()
    for height, width in ((8, 16), (9, 17), (1, 1)):
        spec.check_inputs(given(height, width, -(-height // 8), width // 2 + 1))
    assert spec.outputs[0].shape({"height": 9, "width": 17}) == (2, 153, 6)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((9, 16, 1, 9), "axis ceil(height / 8) of coarse is 1, expected 2"),
        ((8, 17, 1, 8), "axis floor(width / 2) + 1 of coarse is 8, expected 9"),
        ((65, 16, 9, 9), "axis height of images is 65, allowed 1..64"),
    ],
)
def test_a_derived_axis_of_another_size_is_named(sizes: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        derived().check_inputs(given(*sizes))
    assert str(caught.value) == f"graph g cannot run:\n  {message}"


def test_a_derived_axis_of_an_input_that_is_missing_is_not_judged() -> None:
    arrays = given(8, 16, 5, 5)
    del arrays["images"]
    with pytest.raises(InputError) as caught:
        derived().check_inputs(arrays)
    assert str(caught.value).splitlines()[1:] == ["  images float32 (height, width) is missing"]


def test_an_input_decides_every_name() -> None:
    """`height * width` tells neither of the two."""
    ranges = dict.fromkeys(("height", "width"), BATCH)
    with pytest.raises(ValidationError, match=r"graph g: no input decides the axes \['width'\]"):
        GraphSpec(
            name="g",
            inputs=(tensor("x", "height", "height * width"),),
            outputs=(tensor("y", "width"),),
            axis_ranges=ranges,
            reuse=Reuse.TEXT,
        )


@pytest.mark.parametrize("axis", ["height / 8", "ceil(height / 0)", "print(height)", ""])
def test_what_is_no_axis_makes_no_contract(axis: str) -> None:
    with pytest.raises(ValidationError, match="axis "):
        GraphSpec(
            name="g",
            inputs=(tensor("x", "height"),),
            outputs=(tensor("y", axis),),
            axis_ranges={"height": BATCH},
            reuse=Reuse.IMAGE,
        )


@pytest.mark.parametrize(
    ("dtype", "itemsize"), [("float8e4m3fn", 1), ("int8", 1), ("uint8", 1), ("int4", 1), ("bfloat16", 2), ("int64", 8)]
)
def test_types_that_quantisation_needs(dtype: str, itemsize: int) -> None:
    assert DType(dtype).itemsize == itemsize


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        graph().check_inputs({"y": np.zeros(1)})
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:]] == ["y", "x", "past"]


BATCH = {"minimum": 1, "typical": 1, "maximum": 4}


def tensor(name: str, *axes: int | str, dtype: DType = DType.FLOAT32) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, axes=axes)


def fields() -> dict[str, Any]:
    return {
        "name": "g",
        "inputs": (tensor("x", "batch", 3), tensor("past", "batch", 3)),
        "outputs": (
            tensor("hidden", "batch", 5),
            tensor("counts", "batch", 3, dtype=DType.INT64),
            tensor("present", "batch", 3),
            tensor("present2", "batch", 3),
        ),
        "axis_ranges": {"batch": BATCH},
        "reuse": Reuse.IMAGE,
        "in_place": {"present": "past"},
    }


def graph() -> GraphSpec:
    return GraphSpec.model_validate(fields())


def derived() -> GraphSpec:
    """Two input maps of which the coarse one follows from the fine one's size."""
    side = AxisRange(minimum=1, typical=16, maximum=64)
    return GraphSpec(
        name="g",
        inputs=(tensor("images", "height", "width"), tensor("coarse", "ceil(height / 8)", "floor(width / 2) + 1")),
        outputs=(tensor("flat", 2, "height * width", "ceil(height / 8) * ceil(width / 8)"),),
        axis_ranges={"height": side, "width": side},
        reuse=Reuse.IMAGE,
    )


def given(height: int, width: int, rows: int, columns: int) -> dict[str, np.ndarray]:
    return {"images": np.zeros((height, width), np.float32), "coarse": np.zeros((rows, columns), np.float32)}


def arrays(batch: int) -> dict[str, np.ndarray]:
    return {name: np.zeros((batch, 3), np.float32) for name in ("x", "past")}
