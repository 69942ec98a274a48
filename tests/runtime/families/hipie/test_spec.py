"""The graphs of HIPIE: each one's inputs are known when it runs, sizes follow from each other and are checked."""

import numpy as np
import pytest
from pydantic import ValidationError

from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.hipie.published import PUBLISHED
from hyperseg_runtime.families.hipie.spec import HipieDimensions, graph_specs

SPECS = {spec.name: spec for spec in graph_specs(PUBLISHED)}


def axes(spec: GraphSpec) -> dict[str, tuple[int | str, ...]]:
    return {tensor.name: tensor.axes for tensor in (*spec.inputs, *spec.outputs)}


def test_every_input_comes_from_the_host_or_from_a_graph_before() -> None:
    known = {"token_ids", "word_mask", "images", "valid", "text", "centres_px"}
    for spec in SPECS.values():
        assert set(spec.input_names()) <= known, spec.name
        known |= set(spec.output_names())


def test_what_each_result_depends_on() -> None:
    """Mask DINO never sees a text: a new list on a known image runs neither it nor the backbone."""
    assert {name: spec.reuse for name, spec in SPECS.items() if spec.reuse is not Reuse.PROMPT} == {
        "text": Reuse.TEXT,
        "image": Reuse.IMAGE,
        "mask_dino": Reuse.IMAGE,
    }


def test_sizes_of_an_image_that_is_no_multiple_of_anything() -> None:
    sizes = {"batch": 1, "height": 1021, "width": 1500, "rows": 128, "columns": 188}
    maps = [tensor.shape(sizes) for tensor in SPECS["image"].outputs]
    assert maps == [tensor.shape(sizes) for tensor in SPECS["detr"].inputs[:3]]
    assert maps == [(1, 512, 128, 188), (1, 1024, 64, 94), (1, 2048, 32, 47)]


@pytest.mark.parametrize(("proposals", "fewest"), [(900, 26), (20, 8)])
def test_the_smallest_image_has_as_many_tokens_as_queries(proposals: int, fewest: int) -> None:
    """Else an engine's smallest shape could not pick them."""
    dims = PUBLISHED.model_copy(update={"proposals": proposals, "vectors": 12})
    cells, sides = dims.cells(), dims.side_px()
    assert (cells.minimum, sides.minimum) == (fewest, 8 * fewest)
    assert (cells.typical, cells.maximum, sides.typical, sides.maximum) == (128, 256, 1024, 2048)


def test_a_map_of_another_size_is_refused() -> None:
    maps = {
        name: np.zeros(shape, np.float32)
        for name, shape in (("res3", (1, 512, 33, 40)), ("res4", (1, 1024, 17, 20)), ("res5", (1, 2048, 9, 10)))
    }
    SPECS["mask_dino"].check_inputs(maps)
    maps["res4"] = maps["res4"][:, :, :16]
    with pytest.raises(InputError, match="res4"):
        SPECS["mask_dino"].check_inputs(maps)


@pytest.mark.parametrize(("field", "value"), [("short_px", 0), ("vectors", -1), ("options", {"colour": 3})])
def test_impossible_dimensions_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        HipieDimensions.model_validate({**PUBLISHED.model_dump(), field: value})
