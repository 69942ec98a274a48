"""The graphs of UniLSeg: each one's inputs are known when it runs, and sizes are checked."""

import numpy as np
import pytest
from pydantic import ValidationError

from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, Reuse
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.unilseg.spec import UnilsegDimensions, graph_specs

DIMS = UnilsegDimensions(
    image_px=480,
    words=17,
    token_rows=49408,
    start_token_id=49406,
    end_token_id=49407,
    word_width=512,
    state_width=512,
    map_channels=(128, 256, 512, 1024),
    map_shapes=((120, 120), (60, 60), (30, 30), (15, 15)),
)
SPECS = {spec.name: spec for spec in graph_specs(DIMS)}


def axes(spec: GraphSpec) -> dict[str, tuple[int | str, ...]]:
    return {tensor.name: tensor.axes for tensor in (*spec.inputs, *spec.outputs)}


def test_every_input_comes_from_the_host_or_from_a_graph_before() -> None:
    known = {"token_ids", "images", "word_mask"}
    for spec in SPECS.values():
        assert set(spec.input_names()) <= known, spec.name
        known |= set(spec.output_names())


def test_shared_tensors_have_one_shape() -> None:
    seen: dict[str, tuple[int | str, ...]] = {}
    for spec in SPECS.values():
        for name, found in axes(spec).items():
            assert seen.setdefault(name, found) == found


def test_what_each_result_depends_on() -> None:
    assert {name: spec.reuse for name, spec in SPECS.items()} == {
        "text": Reuse.TEXT,
        "image_encoder": Reuse.IMAGE,
        "mask_decoder": Reuse.PROMPT,
    }


def test_logits_are_of_the_finest_maps_size_and_probabilities_of_the_images() -> None:
    found = axes(SPECS["mask_decoder"])
    assert found["mask_logits"] == ("batch", 1, 120, 120)
    assert found["probabilities"] == ("batch", 480, 480)
    assert {t.name: t.dtype for t in SPECS["mask_decoder"].inputs}["word_mask"] is DType.BOOL


def test_a_sentence_of_another_length_is_refused() -> None:
    SPECS["text"].check_inputs({"token_ids": np.zeros((3, 17), np.int64)})
    with pytest.raises(InputError, match="token_ids"):
        SPECS["text"].check_inputs({"token_ids": np.zeros((3, 18), np.int64)})


@pytest.mark.parametrize(("field", "value"), [("image_px", 0), ("words", -1), ("start_token_id", -1), ("colour", 3)])
def test_impossible_dimensions_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValidationError, match=field):
        UnilsegDimensions.model_validate({**DIMS.model_dump(), field: value})
