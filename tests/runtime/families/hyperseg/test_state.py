"""One image, many prompts: what is reused, and that nothing changes by it."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.tolerances import FEATURE, MASK_LOGIT
from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import Embeddings
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt, continue_prompt
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.families.hyperseg.stages import HypersegStages
from hyperseg_runtime.families.hyperseg.state import HypersegImage, Reading
from hyperseg_runtime.llm.prompt import Prompt, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer
from hyperseg_runtime.session.pipeline import OpenedGraphs
from hyperseg_runtime.timing import Stopwatch

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
Ask = Callable[..., Prompt]


@pytest.fixture(scope="module")
def stages(
    dims: HypersegDimensions, graphs: OpenedGraphs, bundle: Bundle, backend: OnnxRuntimeBackend
) -> HypersegStages:
    return HypersegStages(dims, graphs, Embeddings(bundle.directory), backend)


@pytest.fixture
def image(stages: HypersegStages) -> HypersegImage:
    return HypersegImage(stages, IMAGE)


@pytest.fixture(scope="module")
def ask(tokenizer: Tokenizer, dims: HypersegDimensions) -> Ask:
    def prompt(text: str, task: Task = Task.REFERRING) -> Prompt:
        return build_prompt(task, text, tokenizer, dims)

    return prompt


@pytest.fixture
def same_as_alone(stages: HypersegStages) -> Callable[[HypersegImage, Reading], None]:
    """Hidden states, mask and score logits of a reading against those of a new image state."""

    def check(image: HypersegImage, found: Reading) -> None:
        (alone,) = HypersegImage(stages, IMAGE).read([found.prompt], Stopwatch())
        assert alone.reused == 0 and alone.first_row == 0
        rows = slice(found.reused, found.prompt.length)
        ours = found.hidden_states.to_host()[0, found.first_row + rows.start : found.first_row + rows.stop]
        assert worst_error(ours, alone.hidden_states.to_host()[0, rows]) <= FEATURE
        if found.prompt.spans(SlotKind.MASK_QUERIES):
            features, _ = image.features(Stopwatch())
            for name, tolerance in (("mask_logits", MASK_LOGIT), ("score_logits", FEATURE)):
                ours, theirs = (masks(stages, features, reading, name) for reading in (found, alone))
                assert worst_error(ours, theirs) <= tolerance
                assert np.array_equal(ours > 0, theirs > 0)

    return check


def masks(stages: HypersegStages, features: object, reading: Reading, name: str) -> np.ndarray:
    outputs = stages.decode(
        features,  # type: ignore[arg-type]
        reading.hidden_states,
        [reading.prompt],
        Stopwatch(),
        reading.first_row,
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
    same_as_alone: Callable[[HypersegImage, Reading], None],
    sequence: Sequence[tuple[str, Task]],
) -> None:
    for number, (text, task) in enumerate(sequence):
        (reading,) = image.read([ask(text, task)], Stopwatch())
        assert (reading.reused > image._stages.dims.image_tokens) == (number > 0)
        same_as_alone(image, reading)


def test_prompts_read_together_give_what_they_would_alone(
    image: HypersegImage, ask: Ask, same_as_alone: Callable[[HypersegImage, Reading], None]
) -> None:
    prompts = [ask(text) for text in ("the cup", "a spoon on the left", "x", "the cup of coffee", "saucer", "tea")]
    prompts += [ask("the cup", Task.REASONING)] * 3
    stopwatch = Stopwatch()
    readings = list(image.read(prompts, stopwatch))
    assert [reading.prompt for reading in readings] == prompts
    calls = {id(reading.hidden_states) for reading in readings}
    assert 1 < len(calls) < len(prompts)  # more than the context holds at once, fewer calls than prompts
    for reading in readings:
        same_as_alone(image, reading)
    (later,) = image.read([ask("a plate")], Stopwatch())  # the cache is left in order
    assert later.reused > 0
    same_as_alone(image, later)


def test_one_token_more_reads_one_row(
    image: HypersegImage, ask: Ask, dims: HypersegDimensions, same_as_alone: Callable[[HypersegImage, Reading], None]
) -> None:
    prompt = ask("What is this?", Task.QUESTION)
    (first,) = image.read([prompt], Stopwatch())
    assert first.last_row.shape == (1, 1, dims.width) and first.reused == 0
    for count in (1, 2, 3):
        (reading,) = image.read([continue_prompt(prompt, [3, 5, 7][:count], dims)], Stopwatch())
        assert reading.hidden_states.shape[1] == 1 and reading.reused == prompt.length + count - 1
        same_as_alone(image, reading)


def test_each_part_is_computed_once_and_when_needed(image: HypersegImage, ask: Ask) -> None:
    def graphs(*prompts: Prompt) -> list[str]:
        stopwatch = Stopwatch()
        list(image.read(prompts, stopwatch))
        return sorted(set(stopwatch.spans_ms) - {"preprocess", "assemble"})

    assert image.size_bytes == IMAGE.nbytes
    assert graphs(ask("What is this?", Task.QUESTION)) == ["clip_encoder", "llm"]
    asked = image.size_bytes
    assert graphs(ask("the cup")) == ["fvp", "image_encoder", "llm", "pixel_decoder"]
    segmented = image.size_bytes
    assert graphs(ask("a spoon")) == ["llm"] and image.size_bytes == segmented > asked > IMAGE.nbytes


def test_size_counts_caches_and_features(image: HypersegImage, ask: Ask, dims: HypersegDimensions) -> None:
    list(image.read([ask("the cup")], Stopwatch()))
    caches = 2 * dims.layers * dims.cache_heads * dims.context * dims.head_width
    visual = dims.image_tokens * dims.width + dims.perceiver_queries * dims.width
    finest, *levels = (dims.mask_width * height * width for height, width in dims.map_shapes)
    assert image.size_bytes == IMAGE.nbytes + 4 * (caches + visual + finest + 2 * sum(levels))


def test_text_alone_has_no_image(stages: HypersegStages, ask: Ask) -> None:
    text = HypersegImage(stages, None)
    assert not text.has_image and text.size_bytes == 0
    stopwatch = Stopwatch()
    (reading,) = text.read([ask("What is a cup?", Task.TEXT_QUESTION)], stopwatch)
    assert reading.prompt.length == reading.hidden_states.shape[1]
    assert list(stopwatch.spans_ms) == ["assemble", "llm"]
    with pytest.raises(ValueError, match="without an image"):
        list(text.read([ask("What is this?", Task.QUESTION)], Stopwatch()))


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_a_prompt_that_went_wrong_does_not_spoil_the_next(
    stages: HypersegStages, ask: Ask, monkeypatch: pytest.MonkeyPatch, fault: float
) -> None:
    image = HypersegImage(stages, IMAGE)
    (expected,) = image.read([ask("the cup")], Stopwatch())
    with monkeypatch.context() as patch:
        patch.setattr(stages._tables, "token_rows", lambda ids: np.full((len(ids), stages.dims.width), fault))
        with pytest.raises(NumericsError, match="NaN or infinite"):
            list(image.read([ask("a spoon")], Stopwatch()))
    (found,) = image.read([ask("the cup")], Stopwatch())
    assert found.reused == 0
    assert np.array_equal(found.hidden_states.to_host(), expected.hidden_states.to_host())
