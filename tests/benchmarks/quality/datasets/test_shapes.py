"""Made scenes: the same for a seed, masks that fit the things, texts with exactly one meaning."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_bench.quality.datasets.shapes.clips import CLIP_ENTROPY, clip_expressions, make_clip
from hyperseg_bench.quality.datasets.shapes.drawing import BACKGROUNDS, silhouette
from hyperseg_bench.quality.datasets.shapes.expressions import KINDS, all_expressions, choose_expressions
from hyperseg_bench.quality.datasets.shapes.questions import ANSWERS, COUNTS, QuestionMaker
from hyperseg_bench.quality.datasets.shapes.scene import VISIBLE, make_scene, place_things
from hyperseg_bench.quality.datasets.shapes.things import ANY, COLOURS, PLURALS, SHAPES, SIZES, TEXTURES, Thing

SEEDS = st.integers(0, 2**32)
PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
SIDES = {
    "left of": lambda thing, anchor: thing.x < anchor.x,
    "right of": lambda thing, anchor: thing.x > anchor.x,
    "above": lambda thing, anchor: thing.y < anchor.y,
    "below": lambda thing, anchor: thing.y > anchor.y,
}
MOST = {
    "leftmost": lambda thing: -thing.x,
    "rightmost": lambda thing: thing.x,
    "topmost": lambda thing: -thing.y,
    "bottommost": lambda thing: thing.y,
    "largest": lambda thing: thing.radius,
    "smallest": lambda thing: -thing.radius,
}


def named(words: str, things: Sequence[Thing]) -> set[int]:
    """Things that "small red striped circle(s)" fits, read word by word."""
    singular = {PLURALS.get(noun, noun + "s"): noun for noun in (*SHAPES, ANY)}
    found = set(range(len(things)))
    for word in (singular.get(word, word) for word in words.split()):
        known = {word: {value for value in (*SHAPES, *COLOURS, *TEXTURES, *SIZES) if value == word}}[word]
        assert known or word == ANY, word
        if known:
            found = {i for i in found if word in (things[i].shape, things[i].colour, things[i].texture, things[i].size)}
    return found


def read(text: str, things: Sequence[Thing]) -> set[int]:
    """What an expression means, without any margin: a second, simpler reader than the one that made it."""
    for relation, on_that_side in SIDES.items():
        if f" {relation} the " in text:
            words, anchor_words = text.removeprefix("the ").split(f" {relation} the ")
            (anchor,) = named(anchor_words, things)
            return {i for i in named(words, things) - {anchor} if on_that_side(things[i], things[anchor])}
    if text.startswith("all "):
        return named(text.removeprefix("all "), things)
    first, _, rest = text.removeprefix("the ").partition(" ")
    if first in MOST:
        return {max(named(rest, things), key=lambda i: MOST[first](things[i]))}
    return named(text.removeprefix("the "), things)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_every_expression_means_exactly_its_targets(seed: int) -> None:
    things = place_things(np.random.default_rng(seed))
    for kind, expressions in all_expressions(things).items():
        for expression in expressions:
            assert expression.kind == kind
            assert read(expression.text, things) == set(expression.targets), expression.text
            assert (len(expression.targets) > 1) == (kind == "plural")


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_small_shifts_do_not_change_what_an_expression_means(seed: int) -> None:
    generator = np.random.default_rng(seed)
    things = place_things(generator)
    shaken = [
        Thing(t.shape, t.colour, t.texture, t.size, t.x + dx, t.y + dy, t.radius, t.angle)
        for t, (dx, dy) in zip(things, generator.uniform(-0.03, 0.03, (len(things), 2)), strict=True)
    ]
    for expressions in all_expressions(things).values():
        for expression in expressions:
            assert read(expression.text, shaken) == set(expression.targets), expression.text


def test_expressions_of_all_kinds_and_of_different_targets_are_chosen() -> None:
    counts, several = Counter[str](), 0
    for seed in range(40):
        things = place_things(np.random.default_rng(seed))
        chosen = choose_expressions(things, 8, np.random.default_rng(seed))
        assert len(set(chosen)) == len(chosen) <= 8
        counts.update(expression.kind for expression in chosen)
        several += len({expression.targets for expression in chosen}) >= 3
    assert min(counts[kind] for kind in KINDS) > 0.8 * max(counts.values())
    assert several > 30


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_labels_are_the_silhouettes_from_back_to_front(seed: int) -> None:
    scene = make_scene(seed, [PHOTOGRAPH], side_px=96)
    expected = np.zeros((96, 96), np.uint8)
    for number, thing in enumerate(scene.things, 1):
        expected[silhouette(thing, 96) < 0] = number
    np.testing.assert_array_equal(scene.labels, expected)
    masks = [scene.mask([index]) for index in range(len(scene.things))]
    assert np.sum(masks, axis=0).max() == 1
    np.testing.assert_array_equal(scene.mask(range(len(scene.things))), scene.labels > 0)
    for mask, thing in zip(masks, scene.things, strict=True):
        assert mask.sum() > (VISIBLE - 0.1) * (silhouette(thing, 96) < 0).sum()


def test_a_thing_has_its_colour_where_its_mask_is() -> None:
    for seed in range(10):
        scene = make_scene(seed)
        for index, thing in enumerate(scene.things):
            if thing.texture == "plain":
                inside = scene.image[scene.mask([index])].astype(np.float64)
                assert np.abs(np.median(inside, axis=0) - COLOURS[thing.colour]).max() < 8


def test_a_seed_gives_the_same_scene_and_another_seed_another_one() -> None:
    first, again, other = (make_scene(seed, [PHOTOGRAPH]) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.things == again.things != other.things


def test_photographs_and_size_leave_the_things_alone() -> None:
    scenes = [make_scene(3, [PHOTOGRAPH]), make_scene(3, [PHOTOGRAPH], 256), make_scene(3)]
    assert scenes[0].things == scenes[1].things
    assert scenes[1].image.shape == (256, 256, 3)
    assert scenes[2].background != "photograph"


def test_all_backgrounds_are_used() -> None:
    assert {make_scene(seed, [PHOTOGRAPH], 32).background for seed in range(40)} == set(BACKGROUNDS)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_answers_are_true(seed: int) -> None:
    generator = np.random.default_rng(seed)
    things = place_things(generator)
    for question in QuestionMaker().choose(things, generator):
        words, answer = question.text.rstrip("?"), question.answer
        assert answer in ANSWERS[question.kind]
        match question.kind:
            case "presence":
                assert bool(named(words.removeprefix("is there a "), things)) == (answer == "yes")
            case "count":
                found = named(words.removeprefix("how many ").removesuffix(" are there"), things)
                assert COUNTS[len(found) - 1] == answer
            case "colour" | "shape":
                (thing,) = named(words.removeprefix(f"what {question.kind} is the "), things)
                assert getattr(things[thing], question.kind) == answer
            case "side":
                assert bool(read(words.removeprefix("is "), things) & _subject(words, things)) == (answer == "yes")


def _subject(words: str, things: Sequence[Thing]) -> set[int]:
    for relation in SIDES:
        if f" {relation} the " in words:
            return named(words.removeprefix("is the ").split(f" {relation} the ")[0], things)
    raise AssertionError(words)


def test_no_answer_is_much_likelier_than_another_of_its_kind() -> None:
    maker, counts = QuestionMaker(), Counter[tuple[str, str]]()
    for seed in range(400):
        generator = np.random.default_rng(seed)
        counts.update((q.kind, q.answer) for q in maker.choose(place_things(generator), generator))
    for kind, answers in ANSWERS.items():
        found = [counts[kind, answer] for answer in answers]
        assert min(found) > 0.6 * max(found), (kind, found)


def test_clips_start_as_scenes_do_and_move_smoothly() -> None:
    clip = make_clip(4, [PHOTOGRAPH], frames=6)
    assert clip.things[0] == place_things(_after_background(4))
    for before, after in zip(clip.things, clip.things[1:], strict=False):
        for one, two in zip(before, after, strict=True):
            assert abs(one.x - two.x) < 0.04
            assert one.radius < two.x < 1 - one.radius
            assert (one.shape, one.colour, one.radius) == (two.shape, two.colour, two.radius)
    np.testing.assert_array_equal(clip.frames, make_clip(4, [PHOTOGRAPH], frames=6).frames)
    assert (clip.frames[0] != clip.frames[-1]).any()


def _after_background(seed: int) -> np.random.Generator:
    generator = np.random.default_rng((CLIP_ENTROPY, seed))
    generator.integers(len(BACKGROUNDS))
    return generator


@pytest.mark.parametrize("seed", range(6))
def test_what_is_said_of_a_clip_can_be_seen_in_every_frame(seed: int) -> None:
    clip = make_clip(seed)
    for expression in clip_expressions(clip, 5, np.random.default_rng(seed)):
        assert clip.masks(expression.targets).any(axis=(1, 2)).all()
        for things in clip.things:
            assert read(expression.text, things) == set(expression.targets)
