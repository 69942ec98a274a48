"""What only a look at HyperSeg's own prompts and graphs can tell."""

from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hyperseg.model import HypersegModel
from hyperseg_runtime.families.hyperseg.prompts import CLASS_LIST, Task, build_prompt
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.llm.tokenizer import Tokenizer
from hyperseg_runtime.session.pipeline import Pipeline

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


def test_the_default_answer_is_bounded_and_ends_with_the_context(
    pipeline: Pipeline, coffee: Path, tokenizer: Tokenizer, dims: HypersegDimensions
) -> None:
    prompts = {n: build_prompt(Task.QUESTION, "what " * n, tokenizer, dims) for n in range(1, 90)}
    words, prompt = max(((n, p) for n, p in prompts.items() if p.length < dims.context - 1), key=lambda pair: pair[0])
    with pipeline.open(coffee) as session:
        assert len(session.ask("What is this?").finished().token_ids) <= 128
        answer = session.ask("what " * words).finished()
    assert len(answer.token_ids) <= dims.context - prompt.length < 128


def test_a_class_has_the_mask_of_its_likeliest_name(model: HypersegModel, recorded_graphs: RecordingGraphs) -> None:
    request = Classes.of(("couch", "dog"), CLASS_LIST, synonyms=(("sofa", "settee"), ()))
    (found,) = model.segment(model.open(IMAGE), request)
    assert isinstance(found, Instances) and len(recorded_graphs.calls["mask_decoder"]) == 4
    names = Expressions(("couch", "sofa", "settee", "dog"), Task.REFERRING.value)
    *couches, dog = (one for one in model.segment(model.open(IMAGE), names) if isinstance(one, Instances))
    expected = {"couch": max(couches, key=lambda one: one.score), "dog": dog}
    assert found.asked == request.names and set(found.labels) == {*request.names}
    for label, mask, score in zip(found.labels, found.masks, found.scores, strict=True):
        assert score == expected[label].score and np.array_equal(mask, expected[label].mask)


def test_every_name_of_a_list_is_checked(model: HypersegModel) -> None:
    with pytest.raises(PromptError, match="at most 20000 are read"):
        model.check(Classes.of(("couch",), CLASS_LIST, synonyms=(("x" * 30_000,),)), with_image=True)


def leaving(tokens: int, model: HypersegModel) -> str:
    """An instruction whose prompt leaves so many tokens of the context."""
    shortest = model.prompt(Task.NAMING, "a").length
    text = "a" + " a" * (model.dims.context - shortest - tokens)
    assert model.prompt(Task.NAMING, text).length == model.dims.context - tokens
    return text


@pytest.mark.parametrize(("room", "max_tokens"), [(0, None), (3, 4)])
def test_naming_is_refused_where_the_masks_do_not_fit_behind_an_answer(
    model: HypersegModel, recorded_graphs: RecordingGraphs, room: int, max_tokens: int | None
) -> None:
    """[SEG] and the mask queries: before anything is computed."""
    behind = 1 + model.dims.mask_queries
    request = Expressions((leaving(room + behind, model),), Task.NAMING.value, max_tokens)
    message = (
        f"the answer up to {max_tokens or 1} with {behind} behind it, the model was exported for {model.dims.context}"
    )
    with pytest.raises(PromptError, match=message):
        model.check(request, with_image=True)
    with pytest.raises(PromptError, match=message):
        model.segment(model.open(IMAGE), request)
    assert not any(recorded_graphs.calls.values())


@pytest.mark.parametrize("max_tokens", [None, 20])
def test_naming_leaves_room_for_the_masks(model: HypersegModel, max_tokens: int | None) -> None:
    request = Expressions((leaving(20 + 1 + model.dims.mask_queries, model),), Task.NAMING.value, max_tokens)
    model.check(request, with_image=True)
    (found,) = model.segment(model.open(IMAGE), request)
    assert found.details["prompt_tokens"] <= model.dims.context
