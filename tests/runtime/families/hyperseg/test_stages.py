"""The graph calls of the tiny bundle: masks, caches, batches, one token at a time."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.tolerances import FEATURE, MASK_LOGIT
from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import HostTables
from hyperseg_runtime.calls.timing import recorded
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt
from hyperseg_runtime.families.hyperseg.spec import LATENTS, HypersegDimensions
from hyperseg_runtime.families.hyperseg.stages import FVP_TOKENS, HypersegStages
from hyperseg_runtime.families.mask_queries.caches import Caches
from hyperseg_runtime.families.mask_queries.dimensions import MASK_QUERIES, TOKENS
from hyperseg_runtime.families.mask_queries.llm_call import LlmCall, prefill_slots
from hyperseg_runtime.families.mask_queries.stages import Blocks
from hyperseg_runtime.families.mask_queries.state import Features
from hyperseg_runtime.llm.prompt import IMAGE, Prompt, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer
from hyperseg_runtime.session.pipeline import OpenedGraphs

UPLOAD = OnnxRuntimeBackend(threads=1).upload


@pytest.fixture(scope="module")
def tables(bundle: Bundle, dims: HypersegDimensions) -> HostTables:
    return HostTables(bundle, dims.tables())


@pytest.fixture
def stages(
    dims: HypersegDimensions, graphs: OpenedGraphs, tables: HostTables, backend: OnnxRuntimeBackend
) -> HypersegStages:
    return HypersegStages(dims, graphs, tables, backend)


@pytest.fixture(scope="module")
def prompts(tokenizer: Tokenizer, dims: HypersegDimensions) -> list[Prompt]:
    texts = ("the cup of coffee on the left of the table", "cup")
    return [build_prompt(Task.REFERRING, text, tokenizer, dims) for text in texts]


@settings(deadline=None, max_examples=60)
@given(context=st.integers(1, 30), data=st.data())
def test_a_prefill_sees_row_by_row(context: int, data: st.DataObject) -> None:
    tokens = data.draw(st.integers(1, context))
    lengths = data.draw(st.lists(st.integers(1, tokens), min_size=1, max_size=3))
    ranges = prefill_slots(tokens, lengths)
    assert ranges.dtype == np.int64 and ranges.shape == (len(lengths), tokens, 2, 2)
    for batch, length in enumerate(lengths):
        for row in range(tokens):
            seen = [slot for slot in range(context) if slot <= row and slot < length]
            assert [slot for pair in ranges[batch, row].tolist() for slot in range(*pair)] == seen


def test_input_embeddings_are_the_slots_one_after_the_other(
    stages: HypersegStages, tables: HostTables, prompts: list[Prompt], backend: OnnxRuntimeBackend
) -> None:
    image, fvp = random(2, stages.dims.image_tokens, 80), random(2, stages.dims.perceiver_queries, 80)
    found = stages.input_embeddings(prompts, visual(backend.upload(image), backend.upload(fvp))).to_host()
    assert found.shape == (2, prompts[0].length, 80)
    for batch, prompt in enumerate(prompts):
        sources = {
            SlotKind.IMAGE: image[batch],
            SlotKind.PERCEIVER: fvp[batch],
            SlotKind.MASK_QUERIES: tables.table(MASK_QUERIES),
        }
        rows = [sources.get(slot.kind, tables.rows(TOKENS, slot.token_ids)) for slot in prompt.slots]
        assert np.array_equal(found[batch, : prompt.length], np.concatenate(rows))
        assert not found[batch, prompt.length :].any()


def test_a_slot_that_nothing_fills_is_an_error(stages: HypersegStages, prompts: list[Prompt]) -> None:
    with pytest.raises(ValueError, match="nothing to fill the image slot with"):
        stages.input_embeddings(prompts[:1], {})


def test_first_latents_are_the_learned_ones_for_every_image(stages: HypersegStages, tables: HostTables) -> None:
    found = stages.first_latents(3).to_host()
    assert found.shape == (3, 12, 64) and (found == tables.table(LATENTS)).all()


def test_prompts_of_two_lengths_are_prefilled_together_as_alone(
    stages: HypersegStages, prompts: list[Prompt], backend: OnnxRuntimeBackend
) -> None:
    embeds = embedded(stages, prompts, backend)
    together = prefilled(stages, embeds, prompts, backend)
    for batch, prompt in enumerate(prompts):
        alone = prefilled(stages, embeds[batch : batch + 1, : prompt.length], [prompt], backend)
        assert worst_error(together[batch, : prompt.length], alone[0]) <= FEATURE


def test_a_whole_batch_is_decoded_as_its_parts(
    stages: HypersegStages, prompts: list[Prompt], backend: OnnxRuntimeBackend
) -> None:
    images = random(2, 3, 256, 256), random(2, 3, 76, 76)
    together = masks(stages, images, prompts)
    for batch, prompt in enumerate(prompts):
        alone = masks(stages, tuple(array[batch : batch + 1] for array in images), [prompt])
        assert worst_error(together[0][batch], alone[0][0]) <= MASK_LOGIT
        assert worst_error(together[1][batch], alone[1][0]) <= FEATURE


def test_stale_cache_slots_do_not_matter(
    stages: HypersegStages, prompts: list[Prompt], backend: OnnxRuntimeBackend
) -> None:
    """To the bit, after a longer prompt of large values."""
    long, short = prompts
    embeds = {prompt.length: embedded(stages, [prompt], backend) for prompt in prompts}
    fresh = prefilled(stages, embeds[short.length], [short], backend)
    caches = stages.new_caches(1)
    prefilled(stages, 100 * embeds[long.length], [long], backend, caches)
    assert np.array_equal(prefilled(stages, embeds[short.length], [short], backend, caches), fresh)


def test_one_token_at_a_time_is_the_same_as_all_at_once(
    stages: HypersegStages, prompts: list[Prompt], backend: OnnxRuntimeBackend
) -> None:
    prompt = prompts[0]
    embeds = embedded(stages, [prompt], backend)
    expected = prefilled(stages, embeds, [prompt], backend)[0]
    start, caches = prompt.length - 6, stages.new_caches(1)
    prefilled(stages, embeds[:, :start], [prompt], backend, caches)
    for position in range(start, prompt.length):
        where = np.array([position], np.int64)
        seen = np.array([[[[0, position + 1], [0, 0]]]], np.int64)
        row = backend.upload(embeds[:, position : position + 1])
        found = stages.step(row, LlmCall(where[None], seen, where, position + 1), caches).to_host()
        assert worst_error(found[0, 0], expected[position]) <= FEATURE


def test_new_caches_are_zero_and_of_the_graphs_shape(stages: HypersegStages) -> None:
    one, two = stages.new_caches(1), stages.new_caches(2)
    assert list(one) == ["past_key.0", "past_value.0", "past_key.1", "past_value.1"]
    assert one["past_key.0"].shape == (1, 4, 384, 20) and two["past_key.0"].shape == (2, 4, 384, 20)
    assert not any(cache.to_host().any() for cache in (*one.values(), *two.values()))


def test_caches_of_other_dimensions_are_refused(
    stages: HypersegStages, prompts: list[Prompt], backend: OnnxRuntimeBackend
) -> None:
    """As a cache of another bundle would be."""
    other = {name: backend.upload(np.zeros((1, 4, 256, 20), np.float32)) for name in stages.new_caches(1)}
    with pytest.raises(InputError, match=r"past_key.0 .*384.*256"):
        prefilled(stages, embedded(stages, prompts[:1], backend), prompts[:1], backend, other)


def test_memory_of_a_frame_reaches_the_next_one(
    stages: HypersegStages, tokenizer: Tokenizer, dims: HypersegDimensions
) -> None:
    prompt = [build_prompt(Task.VIDEO, "the cup", tokenizer, dims)]
    features, hidden = perceived(stages, (random(1, 3, 256, 256), random(1, 3, 76, 76)), prompt)
    frame = stages.decode_frame(features, hidden, prompt)
    assert frame.memory.shape == (1, dims.perceiver_queries, dims.perceiver_width)
    single = stages.decode(features, hidden, prompt)
    assert single.memory.shape == (1, 1, dims.perceiver_width)
    assert np.array_equal(frame.mask_logits.to_host(), single.mask_logits.to_host())
    following = stages.perceive(UPLOAD(random(1, 3, 256, 256)), frame.memory)
    assert not np.array_equal(following[FVP_TOKENS].to_host(), features[FVP_TOKENS].to_host())


def test_a_question_runs_three_graphs_only(
    stages: HypersegStages, tokenizer: Tokenizer, dims: HypersegDimensions
) -> None:
    question = build_prompt(Task.QUESTION, "What is this?", tokenizer, dims)
    with recorded() as spans_ms:
        embeds = stages.input_embeddings(
            [question], {(SlotKind.IMAGE, IMAGE): stages.clip_tokens(UPLOAD(random(1, 3, 76, 76)))}
        )
        hidden = stages.prefill(embeds, [question.attended_length], stages.new_caches(1))
        assert stages.score_tokens(hidden, [question.length - 1]).shape == (1, dims.logit_rows)
    assert list(spans_ms) == ["clip_encoder", "llm", "lm_head"]


@pytest.mark.parametrize("image_hw", [(1, 1), (37, 90), (400, 600), (120, 33), (256, 256)])
def test_a_device_prepares_images_as_the_host_does(stages: HypersegStages, image_hw: tuple[int, int]) -> None:
    """Byte for byte between the passes, and so number for number."""
    image = np.random.default_rng(sum(image_hw)).integers(0, 256, (*image_hw, 3), np.uint8)
    by_host = stages.encoder_images(image)
    for name, made in stages.prepare(image).items():
        assert np.array_equal(made.to_host(), by_host[name].to_host()), name


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def visual(image_tokens: Buffer, fvp_tokens: Buffer) -> Blocks:
    return {(SlotKind.IMAGE, IMAGE): image_tokens, (SlotKind.PERCEIVER, IMAGE): fvp_tokens}


def embedded(stages: HypersegStages, prompts: Sequence[Prompt], backend: OnnxRuntimeBackend) -> np.ndarray:
    image = backend.upload(random(len(prompts), stages.dims.image_tokens, 80))
    fvp = backend.upload(random(len(prompts), stages.dims.perceiver_queries, 80))
    return stages.input_embeddings(prompts, visual(image, fvp)).to_host()


def prefilled(
    stages: HypersegStages,
    embeds: np.ndarray,
    prompts: Sequence[Prompt],
    backend: OnnxRuntimeBackend,
    caches: Caches | None = None,
) -> np.ndarray:
    lengths = [min(prompt.attended_length, embeds.shape[1]) for prompt in prompts]
    caches = caches or stages.new_caches(len(prompts))
    return stages.prefill(backend.upload(embeds), lengths, caches).to_host()


def perceived(
    stages: HypersegStages, images: Sequence[np.ndarray], prompts: Sequence[Prompt]
) -> tuple[Features, Buffer]:
    pixels, pixels_clip = images
    features = stages.perceive(UPLOAD(pixels), stages.first_latents(len(pixels)))
    embeds = stages.input_embeddings(prompts, visual(stages.clip_tokens(UPLOAD(pixels_clip)), features[FVP_TOKENS]))
    lengths = [prompt.attended_length for prompt in prompts]
    return features, stages.prefill(embeds, lengths, stages.new_caches(len(prompts)))


def masks(
    stages: HypersegStages, images: Sequence[np.ndarray], prompts: Sequence[Prompt]
) -> tuple[np.ndarray, np.ndarray]:
    features, hidden = perceived(stages, images, prompts)
    outputs = stages.decode(features, hidden, prompts)
    return outputs.mask_logits.to_host(), outputs.score_logits.to_host()
