"""A class list that the model answers with names: what is asked, what an answer adds, and the scores of both."""

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hyperseg.model import HypersegModel
from hyperseg_runtime.families.hyperseg.prompts import RECOGNITION
from hyperseg_runtime.families.hyperseg.recognition import AskedList, answered_list, ask_list, segment_answered
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.heads.full_size import certainty, full_size
from hyperseg_runtime.images.preprocessing import square_geometry
from hyperseg_runtime.llm.prompt import SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
REQUEST = Classes(("cup", "table", "sky"), RECOGNITION, synonyms=((), ("desk",), ()))
NAMES, CLASS_OF = ("cup", "table", "desk", "sky"), (0, 1, 1, 2)
DOUBLE = 1e-5
"""Scores are float32."""


@pytest.fixture
def asked(real_tokenizer: Tokenizer, real_dims: HypersegDimensions) -> AskedList:
    return ask_list(REQUEST, real_tokenizer, real_dims)


def test_the_list_is_asked_and_an_answer_fits_behind_it(asked: AskedList, real_dims: HypersegDimensions) -> None:
    conditions = asked.prompt.spans(SlotKind.CONDITION)
    assert len(conditions) == len(NAMES) + 1 and asked.class_of == CLASS_OF
    assert not asked.prompt.spans(SlotKind.MASK_QUERIES)
    left = real_dims.context - asked.prompt.length
    assert 0 < asked.max_tokens == min(128, left - real_dims.mask_queries - 1)


def test_names_of_an_answer_that_are_classes_are_conditions(
    asked: AskedList, real_tokenizer: Tokenizer, real_dims: HypersegDimensions
) -> None:
    answer = real_tokenizer.encode(" Desk, a dog, cup.")
    answered = answered_list(asked, REQUEST, answer, real_tokenizer, real_dims)
    slots = answered.prompt.slots[len(asked.prompt.slots) :]
    texts = [(slot.kind, real_tokenizer.decode(slot.token_ids)) for slot in slots[:-2]]
    assert [text for kind, text in texts if kind is SlotKind.CONDITION] == [" Desk", " cup"]
    assert "".join(text for _, text in texts) == " Desk, a dog, cup."
    assert slots[-2].token_ids == (real_dims.seg_token_id,) and slots[-1].kind is SlotKind.MASK_QUERIES
    assert (answered.listed, answered.class_of) == (len(NAMES), (*CLASS_OF, 1, 0))


def test_an_answer_of_many_names_stays_within_what_the_mask_decoder_takes(
    asked: AskedList, real_tokenizer: Tokenizer, real_dims: HypersegDimensions
) -> None:
    dims = real_dims.model_copy(update={"context": 4096})
    answered = answered_list(asked, REQUEST, real_tokenizer.encode("cup," * 300), real_tokenizer, dims)
    assert len(answered.prompt.spans(SlotKind.CONDITION)) == 256 == len(answered.class_of) + 1


def test_a_class_is_as_probable_as_its_likeliest_name(model: HypersegModel, recorded_graphs: RecordingGraphs) -> None:
    """Against the arithmetic in float64, from the logits that the mask decoder gave."""
    asked = ask_list(REQUEST, model.tokenizer, model.dims)
    answer = "sky,cup,a dog"
    answered = answered_list(asked, REQUEST, model.tokenizer.encode(answer), model.tokenizer, model.dims)
    assert answered.class_of == (*CLASS_OF, 2, 0)
    found = segment_answered(model.stages, model.open(IMAGE), REQUEST, answered, answer)
    made = recorded_graphs.calls["mask_decoder"][-1].outputs
    cup, table, desk, sky, none, named_sky, named_cup = made["class_logits"][0].astype(np.float64).T
    classes = [np.maximum(cup, named_cup), np.maximum(table, desk), np.maximum(sky, named_sky), none]
    grown = np.exp(np.stack(classes, axis=1))
    probabilities = grown[:, :3] / grown.sum(1, keepdims=True)
    assert len(found.masks) == probabilities.size
    geometry = square_geometry(*IMAGE.shape[:2], model.dims.image_px)
    for mask, score, label, own in zip(found.masks, found.scores, found.labels, found.instance_details, strict=True):
        query = own["query"]
        inside = full_size(made["mask_logits"][0, query], geometry)[mask]
        expected = probabilities[query, REQUEST.names.index(label)] * certainty(inside)
        assert abs(score - expected) < DOUBLE
    assert found.details["named"] == ["sky", "cup"] and found.details["answer"] == answer


def test_the_model_answers_before_it_segments(model: HypersegModel, recorded_graphs: RecordingGraphs) -> None:
    model.check(REQUEST, with_image=True)
    (found,) = model.segment(model.open(IMAGE), REQUEST)
    calls = recorded_graphs.calls
    assert len(calls["lm_head"]) >= 1 and len(calls["image_encoder"]) == len(calls["mask_decoder"]) == 1
    assert isinstance(found, Instances) and (found.asked, found.task) == (REQUEST.names, RECOGNITION)
    assert set(found.labels) <= set(REQUEST.names) and found.details["reused_tokens"] > model.dims.image_tokens
    assert (np.diff(found.scores) <= 0).all() and isinstance(found.details["answer"], str)


def test_a_list_without_room_for_an_answer_is_refused(model: HypersegModel) -> None:
    long = Classes(tuple(f"a thing of kind number {number}" for number in range(60)), RECOGNITION)
    with pytest.raises(PromptError, match="a list of 60 names leaves no room for an answer and 10 mask queries"):
        model.check(long, with_image=True)
    with pytest.raises(PromptError, match="a list of 60 names"):
        model.segment(model.open(IMAGE), long)
