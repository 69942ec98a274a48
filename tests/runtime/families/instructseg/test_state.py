"""One image, several texts: what is computed again, and what is not."""

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.contracts.requests import Expressions, Question
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families.instructseg.model import InstructsegModel
from hyperseg_runtime.families.instructseg.state import TEXTS, InstructsegImage

pytestmark = pytest.mark.slow  # its bundle takes a minute to make

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
ENCODERS = ("image_encoder", "clip_encoder", "ovp_media", "pixel_decoder", "vmtf_media")


def segmented(
    model: InstructsegModel, image: InstructsegImage, *texts: str, task: str = "referring"
) -> list[Instances]:
    return [one for one in model.segment(image, Expressions(texts, task)) if isinstance(one, Instances)]


def counts(counted: RecordingGraphs, *graphs: str) -> list[int]:
    return [len(counted.calls.get(graph, ())) for graph in graphs]


def test_texts_share_the_encoders_and_never_the_perceiver(model: InstructsegModel, counted: RecordingGraphs) -> None:
    """What the image gives the perceiver is text-free and made once; its rows are made for every text."""
    image = model.open(PHOTO)
    found = segmented(model, image, "the cup", "a spoon")
    assert counts(counted, *ENCODERS) == [1] * 5
    first, second = counted.calls["ovp"]
    assert np.array_equal(first.inputs["ovp_keys_values"], second.inputs["ovp_keys_values"])
    assert not np.array_equal(first.outputs["ovp_tokens"], second.outputs["ovp_tokens"])
    for text, one in zip(("the cup", "a spoon"), found, strict=True):
        (alone,) = segmented(model, model.open(PHOTO), text)
        assert np.array_equal(one.masks, alone.masks) and abs(one.score - alone.score) < 1e-5


def test_the_same_text_again_is_not_perceived_again(model: InstructsegModel, counted: RecordingGraphs) -> None:
    image = model.open(PHOTO)
    (first,) = segmented(model, image, "the cup")
    (again,) = segmented(model, image, "the cup")
    assert counts(counted, *ENCODERS, "ovp") == [1] * 6
    assert again.details["reused_tokens"] > model.dims.image_tokens + model.dims.perceiver_queries
    assert np.array_equal(first.masks, again.masks)


def test_rows_of_many_texts_are_not_kept_for_ever(model: InstructsegModel, counted: RecordingGraphs) -> None:
    image = model.open(PHOTO)
    for number in range(TEXTS + 2):
        image.view((number, number + 1))
    assert len(image._views) == TEXTS
    image.view((0, 1))
    assert counts(counted, "ovp") == [TEXTS + 3]


def test_a_question_needs_no_perceiver(model: InstructsegModel, counted: RecordingGraphs) -> None:
    answer = model.ask(model.open(PHOTO), Question("What is this?", max_tokens=2)).finished()
    assert 1 <= len(answer.token_ids) <= 2
    assert counts(counted, "ovp", "image_encoder", "clip_encoder") == [0, 0, 1]


def test_size_counts_what_the_perceiver_keeps(model: InstructsegModel) -> None:
    image, dims = model.open(PHOTO), model.dims
    image.view((1, 2, 3))
    rows = dims.image_tokens * (dims.width + dims.perceiver_media_width) + dims.perceiver_queries * dims.width
    assert image.size_bytes == PHOTO.nbytes + 4 * rows


def test_references_are_for_the_time_they_are_given(model: InstructsegModel) -> None:
    image, other = model.open(PHOTO), model.open(PHOTO[::-1].copy())
    (alone,) = segmented(model, image, "the cup")
    with image.seen_with([other]):
        (with_other,) = segmented(model, image, "the cup")
    (after,) = segmented(model, image, "the cup")
    assert after.score == pytest.approx(alone.score, abs=1e-6)
    assert np.array_equal(after.masks, alone.masks)
    assert with_other.score != alone.score
