"""Sessions as a user sees them, on the tiny bundle."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.parity.tolerances import SAME_SCORE
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.contracts.sampling import Sampling
from hyperseg_runtime.errors import ImageError, InputError, PromptError
from hyperseg_runtime.llm.answers import Finish
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline

TEXTS = ["the cup of coffee", "a spoon", "the table on the left", "x", "cup", "a saucer"]


@pytest.fixture
def pipeline(bundle: Bundle) -> Iterator[Pipeline]:
    """One with no memory of other tests."""
    with Pipeline(bundle, OnnxRuntimeBackend(threads=1)) as opened:
        yield opened


@pytest.fixture
def session(pipeline: Pipeline, coffee: Path) -> Iterator[ImageSession]:
    with pipeline.open(coffee) as opened:
        yield opened


@pytest.fixture(scope="module")
def alone(bundle: Bundle, coffee: Path) -> Callable[..., Instances]:
    """One text with nothing kept from before."""

    def segment(text: str, task: str = "referring") -> Instances:
        return uncached(coffee, text, task)

    uncached = Pipeline(bundle, OnnxRuntimeBackend(threads=1), cache_bytes=0)
    return segment


def same(found: Instances, expected: Instances) -> bool:
    assert abs(found.score - expected.score) <= SAME_SCORE
    return (
        np.array_equal(found.masks, expected.masks)
        and found.instance_details == expected.instance_details
        and (found.asked, found.labels, found.task) == (expected.asked, expected.labels, expected.task)
    )


def classes(session: ImageSession, names: list[str], min_score: float = 0.0) -> Instances:
    found = session.segment_classes(names, min_score=min_score)
    assert isinstance(found, Instances)
    return found


def test_expressions_one_after_another(session: ImageSession, alone: Callable[..., Instances]) -> None:
    for number, text in enumerate(TEXTS):
        result = session.segment(text)
        assert same(result, alone(text))
        assert ("image_encoder" in result.timings_ms) == (number == 0)
        assert (result.details["reused_tokens"] > 0) == (number > 0)
        assert result.details["reused_tokens"] < result.details["prompt_tokens"]
    assert same(session.segment(TEXTS[0], "reasoning"), alone(TEXTS[0], "reasoning"))


def test_expressions_together(session: ImageSession, alone: Callable[..., Instances]) -> None:
    results = session.segment_many(TEXTS)
    assert all(same(result, alone(text)) for result, text in zip(results, TEXTS, strict=True))
    assert session.segment_many([]) == []


def test_classes_are_expressions_sorted_by_score(session: ImageSession, alone: Callable[..., Instances]) -> None:
    expected = sorted((alone(text) for text in TEXTS), key=lambda result: -result.score)
    found = classes(session, TEXTS)
    assert (found.asked, found.task) == (tuple(TEXTS), "class list")
    assert [(label,) for label in found.labels] == [result.asked for result in expected]
    assert np.array_equal(found.masks, np.concatenate([result.masks for result in expected]))
    assert found.instance_details == tuple(result.instance_details[0] for result in expected)
    assert np.abs(found.scores - [result.score for result in expected]).max() <= SAME_SCORE
    assert found.details["queries_evaluated"] == sum(result.details["queries_evaluated"] for result in expected)
    least = expected[2].score - 2 * SAME_SCORE
    assert classes(session, TEXTS, min_score=least).labels == found.labels[:3]
    nothing = classes(session, [])
    assert nothing.masks.shape == (0, 400, 600) and nothing.labels == ()
    with pytest.raises(InputError, match="the class list holds cup, spoon more than once"):
        session.segment_classes(["spoon", "cup", "spoon", "cup", "a saucer"])
    with pytest.raises(InputError, match="expected a list of names, got one text: 'cup'"):
        session.segment_classes("cup")


def test_a_bad_text_stops_all_before_any_work(session: ImageSession) -> None:
    with pytest.raises(PromptError, match="the text is empty"):
        session.segment_many([*TEXTS, " "])
    assert "image_encoder" in session.segment(TEXTS[0]).timings_ms
    with pytest.raises(InputError, match="expected a list of texts, got one text: 'the cup'"):
        session.segment_many("the cup")
    with pytest.raises(
        InputError, match="unknown task 'panoptic' for expressions; HyperSeg knows referring, reasoning"
    ):
        session.segment("the cup", "panoptic")


def test_a_request_of_any_kind_is_run_or_refused_with_the_reason(session: ImageSession) -> None:
    expressions = session.run(Expressions(tuple(TEXTS[:2])))
    assert [result.asked for result in expressions] == [(TEXTS[0],), (TEXTS[1],)]
    (listed,) = session.run(Classes(tuple(TEXTS[:2])))
    assert isinstance(listed, Instances) and sorted(listed.labels) == sorted(TEXTS[:2])
    (region,) = session.run(Regions(points_xy=((3.0, 4.0),)))
    assert isinstance(region, Instances) and (region.asked, region.task) == (("point 3,4",), "region")
    with pytest.raises(InputError, match="unknown task 'parts' for classes; HyperSeg knows class list, panoptic, sem"):
        session.segment_classes(TEXTS, "parts")
    with pytest.raises(InputError, match="unknown task 'referring' for questions; HyperSeg knows question"):
        session.ask(Question("What is this?", task="referring"))


def test_an_answer_says_how_much_of_its_prompt_was_read_before(session: ImageSession) -> None:
    """The published prompts of a question and an expression differ before the image's tokens, two questions after."""
    session.segment("the cup")
    first = session.ask("What is this?", max_tokens=1)
    assert first.details.keys() == {"prompt_tokens"}
    first.finished()
    again = session.ask("What colour is it?", max_tokens=1).finished()
    assert 0 < first.details["reused_tokens"] < again.details["reused_tokens"] < again.details["prompt_tokens"]


def test_questions_and_expressions_apart_read_nothing_twice(
    pipeline: Pipeline, coffee: Path, alone: Callable[..., Instances]
) -> None:
    """An owner of their own gives the questions caches of their own; answers and masks are the same."""
    with pipeline.open(coffee) as masks, pipeline.open(coffee, owner="questions") as questions:
        masks.segment("the cup")
        text = questions.ask("What is this?", max_tokens=3).finished().text
        assert masks.segment("a spoon").details["reused_tokens"] > 0 and same(masks.segment("x"), alone("x"))
        again = questions.ask("What is this?", max_tokens=3).finished()
        assert again.text == text and again.details["reused_tokens"] > 0.9 * again.details["prompt_tokens"]


def test_every_result_has_the_times_of_the_whole_call(session: ImageSession) -> None:
    one, other = session.segment_many(TEXTS[:2])
    assert one.timings_ms == other.timings_ms and {"llm", "mask_decoder"} <= one.timings_ms.keys()
    assert "image_encoder" not in session.segment(TEXTS[2]).timings_ms


def test_a_repeated_image_is_remembered(pipeline: Pipeline, coffee: Path) -> None:
    first, again = pipeline(coffee, "the cup"), pipeline(coffee, "a spoon")
    assert "image_encoder" in first.timings_ms and "image_encoder" not in again.timings_ms
    assert again.details["reused_tokens"] > 0 and same(pipeline(coffee, "the cup"), first)


def test_sessions_of_one_image_share_and_of_two_do_not_mix(
    pipeline: Pipeline, coffee: Path, alone: Callable[..., Instances]
) -> None:
    other = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    expected = Pipeline(pipeline.bundle, OnnxRuntimeBackend(1))(other, "a spoon")
    with pipeline.open(coffee) as one, pipeline.open(coffee) as two, pipeline.open(other) as three:
        assert same(one.segment("the cup"), alone("the cup"))
        assert same(three.segment("a spoon"), expected)
        assert same(two.segment("a spoon"), alone("a spoon"))
        assert two.segment("the cup").details["reused_tokens"] > 0
        assert same(three.segment("a spoon"), expected)


def test_answers_stream_and_equal_themselves(session: ImageSession) -> None:
    answer = session.ask("What is this?", max_tokens=12)
    pieces = list(answer)
    assert len(pieces) == len(answer.token_ids) == 12 and answer.finish is Finish.LENGTH
    assert "".join(pieces).strip() == answer.text
    session.segment("the cup")
    assert session.ask("What is this?", max_tokens=12).finished().token_ids == answer.token_ids


def test_other_requests_may_run_between_two_pieces(session: ImageSession, alone: Callable[..., Instances]) -> None:
    expected = session.ask("What is this?", max_tokens=8).finished().token_ids
    answer = session.ask("What is this?", max_tokens=8)
    for number, _ in enumerate(answer):
        assert same(session.segment(TEXTS[number % 3]), alone(TEXTS[number % 3]))
    assert answer.token_ids == expected


def test_an_answer_that_cannot_fit_is_refused_before_any_work(session: ImageSession) -> None:
    with pytest.raises(PromptError, match=r"the prompt takes \d+ tokens and the answer up to 1000, .* for 384 tog"):
        session.ask("What is this?", max_tokens=1000)
    with pytest.raises(PromptError, match=r"takes \d+ tokens, the model was exported for 384"):
        session.ask("what " * 400)
    with pytest.raises(InputError, match="an answer of 0 tokens was asked for"):
        session.ask("What is this?", max_tokens=0)
    with pytest.raises(PromptError, match="the text is empty"):
        session.ask("")
    assert session._state is not None and session._state.size_bytes == 400 * 600 * 3


def test_sampling_is_repeatable_and_changes_the_answer(session: ImageSession) -> None:
    def ids(sampling: Sampling) -> list[int]:
        return session.ask("What is this?", sampling, 16).finished().token_ids

    assert ids(Sampling(5.0, seed=1)) == ids(Sampling(5.0, seed=1))
    assert len({tuple(ids(Sampling(5.0, seed=seed))) for seed in range(4)}) > 1
    assert ids(Sampling(5.0, top_p=1e-9, seed=1)) == ids(Sampling())


def test_questions_without_an_image(pipeline: Pipeline, coffee: Path) -> None:
    with pipeline.open(None) as text, pipeline.open(coffee) as image:
        spoken = text.ask("What is a cup?", max_tokens=8).finished()
        assert spoken.token_ids != image.ask("What is a cup?", max_tokens=8).finished().token_ids
        assert text.ask("What is a cup?", max_tokens=8).finished().token_ids == spoken.token_ids
        with pytest.raises(InputError, match="about text alone"):
            text.segment("the cup")
        with pytest.raises(InputError, match="about text alone"):
            text.segment("Name the things.", "naming")


def test_names_are_segmented_on_the_cache_of_the_answer(session: ImageSession) -> None:
    session.segment("the cup")
    asked = session.ask("x", max_tokens=1).finished()
    (result,) = session.run(Expressions(("Name the things.",), "naming", max_tokens=20))
    assert isinstance(result, Instances) and (result.asked, result.task) == (("Name the things.",), "naming")
    assert len(result.masks) > 0 and all(result.labels) and result.masks.shape[1:] == (400, 600)
    assert (np.diff(result.scores) <= 0).all()  # best first, not in the order of the answer
    new = result.details["prompt_tokens"] - result.details["reused_tokens"]
    assert new < 20 + 1 + 10 + 1  # the answer, [SEG], the queries
    assert len(asked.token_ids) == 1


def test_the_callers_buffer_may_change(pipeline: Pipeline, alone: Callable[..., Instances]) -> None:
    """As a camera's does; what was opened stays what it was."""
    buffer = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    first = buffer.copy()
    with pipeline.open(buffer) as session:
        session.ask("What is this?", max_tokens=1).finished()
        buffer[:] = 255 - buffer
        found = session.segment("the cup")
    expected = Pipeline(pipeline.bundle, OnnxRuntimeBackend(1), cache_bytes=0)(first, "the cup")
    assert same(found, expected) and same(pipeline(first, "the cup"), expected)


def test_a_closed_pipeline_lets_go_of_its_graphs(bundle: Bundle, coffee: Path) -> None:
    with Pipeline(bundle, OnnxRuntimeBackend(1)) as pipeline:
        session = pipeline.open(coffee)
        graph = weakref.ref(pipeline._graphs["llm"])
        assert graph() is not None
    with pytest.raises(InputError, match="the pipeline of this session is closed"):
        session.segment("the cup")
    gc.collect()
    assert graph() is None and session._state is None


def test_a_session_that_is_dropped_gives_its_image_back(bundle: Bundle, coffee: Path) -> None:
    with Pipeline(bundle, OnnxRuntimeBackend(1), cache_bytes=0) as pipeline:
        pipeline.open(coffee).segment("the cup")
        gc.collect()
        images = pipeline._shared.images
        assert images.size_bytes > 0
        with pipeline.open(None):
            pass
        assert images.size_bytes == 0


def test_a_closed_session_or_pipeline_says_so(pipeline: Pipeline, coffee: Path) -> None:
    session, other = pipeline.open(coffee), pipeline.open(coffee)
    started = session.ask("What is this?", max_tokens=5)
    next(started)
    session.close()
    session.close()
    for request in (lambda: session.segment("x"), lambda: session.ask("x"), lambda: next(started)):
        with pytest.raises(InputError, match="the session is closed; open the image again"):
            request()
    assert other.segment("the cup").mask.shape == (400, 600)
    pipeline.close()
    with pytest.raises(InputError, match="the pipeline of this session is closed"):
        other.segment("the cup")
    other.close()
    with pytest.raises(InputError, match="the pipeline is closed; load the bundle again"):
        pipeline.open(coffee)


def test_an_image_that_cannot_be_read_opens_no_session(pipeline: Pipeline, coffee: Path) -> None:
    with pytest.raises(ImageError):
        pipeline.open(coffee.with_name("none.jpg"))
    assert len(pipeline._shared.images) == 0


def test_memory_is_bounded(bundle: Bundle) -> None:
    """A hundred images; what is kept is what fits."""
    images = np.random.default_rng(0).integers(0, 256, (100, 20, 30, 3), np.uint8)
    with Pipeline(bundle, OnnxRuntimeBackend(1)) as probe, probe.open(images[0]) as session:
        session.ask("x", max_tokens=1).finished()
        one = probe._shared.images.size_bytes
    with Pipeline(bundle, OnnxRuntimeBackend(1), cache_bytes=3 * one) as pipeline:
        for image in images:
            with pipeline.open(image) as session:
                session.ask("x", max_tokens=1).finished()
            assert pipeline._shared.images.size_bytes <= 3 * one
        assert len(pipeline._shared.images) == 3


def test_threads_share_a_pipeline(pipeline: Pipeline, coffee: Path, alone: Callable[..., Instances]) -> None:
    expected = {text: alone(text) for text in TEXTS}
    barrier = threading.Barrier(3)

    def work(number: int) -> bool:
        barrier.wait(timeout=30)
        with pipeline.open(coffee) as session:
            texts = TEXTS[number:] + TEXTS[:number]
            return all(same(session.segment(text), expected[text]) for text in texts)

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(work, range(3)))
