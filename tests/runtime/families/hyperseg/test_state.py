"""One image, many prompts: what is reused, and that nothing changes by it."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.tolerances import FEATURE, MASK_LOGIT
from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import HostTables
from hyperseg_runtime.calls.timing import recorded
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.families.hyperseg.stages import HypersegStages
from hyperseg_runtime.families.hyperseg.state import HypersegImage
from hyperseg_runtime.families.mask_queries.masks import Asked
from hyperseg_runtime.families.mask_queries.masks import masks as masks_of
from hyperseg_runtime.families.mask_queries.prompts import continue_prompt
from hyperseg_runtime.families.mask_queries.state import PromptStates
from hyperseg_runtime.llm.prompt import Prompt, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer
from hyperseg_runtime.session.pipeline import OpenedGraphs

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
Ask = Callable[..., Prompt]


@pytest.fixture(scope="module")
def stages(
    dims: HypersegDimensions, graphs: OpenedGraphs, bundle: Bundle, backend: OnnxRuntimeBackend
) -> HypersegStages:
    return HypersegStages(dims, graphs, HostTables(bundle, dims.tables()), backend)


@pytest.fixture
def image(stages: HypersegStages) -> HypersegImage:
    return HypersegImage(stages, IMAGE)


@pytest.fixture(scope="module")
def ask(tokenizer: Tokenizer, dims: HypersegDimensions) -> Ask:
    def prompt(text: str, task: Task = Task.REFERRING) -> Prompt:
        return build_prompt(task, text, tokenizer, dims)

    return prompt


@pytest.fixture
def same_as_alone(stages: HypersegStages) -> Callable[[HypersegImage, PromptStates], None]:
    """Hidden states, mask and score logits of a prefill against those of a new image state."""

    def check(image: HypersegImage, found: PromptStates) -> None:
        (alone,) = HypersegImage(stages, IMAGE).prefill([found.prompt])
        assert alone.reused == 0 and alone.first_row == 0
        rows = slice(found.reused, found.prompt.length)
        ours = found.hidden_states.to_host()[0, found.first_row + rows.start : found.first_row + rows.stop]
        assert worst_error(ours, alone.hidden_states.to_host()[0, rows]) <= FEATURE
        if found.prompt.spans(SlotKind.MASK_QUERIES):
            features, _ = image.features()
            for name, tolerance in (("mask_logits", MASK_LOGIT), ("score_logits", FEATURE)):
                ours, theirs = (masks(stages, features, states, name) for states in (found, alone))
                assert worst_error(ours, theirs) <= tolerance
                assert np.array_equal(ours > 0, theirs > 0)

    return check


def masks(stages: HypersegStages, features: object, states: PromptStates, name: str) -> np.ndarray:
    outputs = stages.decode(
        features,  # type: ignore[arg-type]
        states.hidden_states,
        [states.prompt],
        states.first_row,
    )
    found: Buffer = getattr(outputs, name)
    return found.to_host()


SEQUENCES = {
    "another expression": [("the cup", Task.REFERRING), ("a spoon on the left", Task.REFERRING)],
    "a shorter one": [("a spoon on the left of the table", Task.REFERRING), ("cup", Task.REFERRING)],
    "the same again": [("the cup", Task.REFERRING), ("the cup", Task.REFERRING)],
    "another task": [("the cup", Task.REFERRING), ("the cup", Task.REASONING), ("the cup", Task.REFERRING)],
}


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_later_prompts_give_what_they_would_alone(
    image: HypersegImage,
    ask: Ask,
    same_as_alone: Callable[[HypersegImage, PromptStates], None],
    sequence: Sequence[tuple[str, Task]],
) -> None:
    for number, (text, task) in enumerate(sequence):
        (states,) = image.prefill([ask(text, task)])
        assert (states.reused > image._stages.dims.image_tokens) == (number > 0)
        same_as_alone(image, states)


def test_prompts_together_give_what_they_would_alone(
    image: HypersegImage, ask: Ask, same_as_alone: Callable[[HypersegImage, PromptStates], None]
) -> None:
    prompts = [ask(text) for text in ("the cup", "a spoon on the left", "x", "the cup of coffee", "saucer", "tea")]
    prompts += [ask("the cup", Task.REASONING)] * 3
    found = list(image.prefill(prompts))
    assert [states.prompt for states in found] == prompts
    calls = {id(states.hidden_states) for states in found}
    assert 1 < len(calls) < len(prompts)  # more than the context holds at once, fewer calls than prompts
    for states in found:
        same_as_alone(image, states)
    (later,) = image.prefill([ask("a plate")])  # the cache is left in order
    assert later.reused > 0
    same_as_alone(image, later)


def test_one_token_more_is_one_row(
    image: HypersegImage,
    ask: Ask,
    dims: HypersegDimensions,
    same_as_alone: Callable[[HypersegImage, PromptStates], None],
) -> None:
    prompt = ask("What is this?", Task.QUESTION)
    (first,) = image.prefill([prompt])
    assert first.last_row == prompt.length - 1 and first.reused == 0
    for count in (1, 2, 3):
        (states,) = image.prefill([continue_prompt(prompt, [3, 5, 7][:count], dims)])
        assert states.hidden_states.shape[1] == 1 and states.reused == prompt.length + count - 1
        same_as_alone(image, states)


def test_each_part_is_computed_once_and_when_needed(image: HypersegImage, ask: Ask) -> None:
    def graphs(*prompts: Prompt) -> list[str]:
        with recorded() as spans_ms:
            list(image.prefill(prompts))
        return sorted(set(spans_ms) - {"preprocess", "input_embeddings"})

    assert image.size_bytes == IMAGE.nbytes
    assert graphs(ask("What is this?", Task.QUESTION)) == ["clip_encoder", "llm"]
    asked = image.size_bytes
    assert graphs(ask("the cup")) == ["fvp", "image_encoder", "llm", "pixel_decoder"]
    segmented = image.size_bytes
    assert graphs(ask("a spoon")) == ["llm"] and image.size_bytes == segmented > asked > IMAGE.nbytes


def test_size_counts_caches_and_features(image: HypersegImage, ask: Ask, dims: HypersegDimensions) -> None:
    list(image.prefill([ask("the cup")]))
    caches = 2 * dims.layers * dims.cache_heads * dims.context * dims.head_width
    visual = dims.image_tokens * dims.width + dims.perceiver_queries * dims.width
    finest, *levels = (dims.mask_width * height * width for height, width in dims.map_shapes)
    assert image.size_bytes == IMAGE.nbytes + 4 * (caches + visual + finest + 2 * sum(levels))


def test_text_alone_has_no_image(stages: HypersegStages, ask: Ask) -> None:
    text = HypersegImage(stages, None)
    assert not text.has_image and text.size_bytes == 0
    with recorded() as spans_ms:
        (states,) = text.prefill([ask("What is a cup?", Task.TEXT_QUESTION)])
    assert states.prompt.length == states.hidden_states.shape[1]
    assert list(spans_ms) == ["input_embeddings", "llm"]
    with pytest.raises(ValueError, match="without an image"):
        list(text.prefill([ask("What is this?", Task.QUESTION)]))


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_a_prompt_that_went_wrong_does_not_spoil_the_next(
    stages: HypersegStages, ask: Ask, monkeypatch: pytest.MonkeyPatch, fault: float
) -> None:
    image = HypersegImage(stages, IMAGE)
    (expected,) = image.prefill([ask("the cup")])
    with monkeypatch.context() as patch:
        patch.setattr(stages._tables, "rows", lambda name, ids: np.full((len(ids), stages.dims.width), fault))
        with pytest.raises(NumericsError, match="NaN or infinite"):
            masks_of(
                stages, image, (Asked(found, ("a spoon",), "referring") for found in image.prefill([ask("a spoon")]))
            )
    (found,) = image.prefill([ask("the cup")])
    assert found.reused == 0
    assert np.array_equal(found.hidden_states.to_host(), expected.hidden_states.to_host())


class Padding(OnnxRuntimeBackend):
    """Fills calls up as engines want it."""

    token_step = 64


def test_rows_that_fill_a_call_up_change_nothing(
    stages: HypersegStages,
    graphs: OpenedGraphs,
    bundle: Bundle,
    ask: Ask,
    same_as_alone: Callable[[HypersegImage, PromptStates], None],
) -> None:
    """Whole prompts, suffixes, several in one call, single tokens; each against a call without them."""
    dims = stages.dims
    padding = HypersegStages(dims, graphs, HostTables(bundle, dims.tables()), Padding(threads=1))
    image = HypersegImage(padding, IMAGE)
    texts = ("the cup", "a spoon on the left of the table", "tea")
    found = [next(image.prefill([ask(text)])) for text in texts]
    assert {states.hidden_states.shape[1] % 64 for states in found} == {0}
    assert len({states.hidden_states.shape for states in found[1:]}) == 1  # of other lengths, in calls of one shape
    question = ask("What is this?", Task.QUESTION)
    answered = [*image.prefill([question]), *image.prefill([continue_prompt(question, [3], dims)])]
    assert answered[1].hidden_states.shape[1] == 1
    for states in (*found, *answered, *image.prefill([ask(text) for text in texts])):
        same_as_alone(image, states)


def test_caches_of_an_image_that_is_gone_are_lent_again(stages: HypersegStages, ask: Ask) -> None:
    first = HypersegImage(stages, IMAGE)
    with first.trusted():
        (expected,) = first.prefill([ask("the cup")])
    assert first._caches is not None
    held = set(map(id, first._caches.values()))
    other = HypersegImage(stages, IMAGE)
    list(other.prefill([ask("a spoon")]))
    assert other._caches is not None and not held & set(map(id, other._caches.values()))
    del first
    third = HypersegImage(stages, IMAGE)
    (found,) = third.prefill([ask("the cup")])
    assert third._caches is not None and held == set(map(id, third._caches.values()))
    assert np.array_equal(found.hidden_states.to_host(), expected.hidden_states.to_host())


def test_caches_that_may_hold_no_numbers_are_not_lent_again(stages: HypersegStages, ask: Ask) -> None:
    """Written to again after they were trusted, and nobody has looked."""
    image = HypersegImage(stages, IMAGE)
    with image.trusted():
        list(image.prefill([ask("the cup")]))
    list(image.prefill([ask("a spoon")]))
    assert image._caches is not None
    doubtful = list(image._caches.values())
    del image
    assert not any(lent is other for lent in stages.caches.lend().values() for other in doubtful)
