"""Objects of made clips keep their numbers: where they cross, leave, come back, jump, or look alike."""

from collections.abc import Iterable, Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.heads import tracking
from hyperseg_runtime.heads.tracking import FrameObjects, Tracks

SIDE, HW = 8, (24, 80)
LOOKS = np.eye(4)
"""Appearances that share nothing."""
Thing = tuple[int, int]
"""Number of the appearance, left edge in pixels."""


def square(left: int, top: int = 8) -> np.ndarray:
    mask = np.zeros(HW, bool)
    mask[top : top + SIDE, max(left, 0) : max(left + SIDE, 0)] = True
    return mask


def frame(things: Sequence[Thing], label: str = "ball", noise: float = 0.0) -> FrameObjects:
    looks = np.array([LOOKS[look] for look, _ in things]).reshape(-1, 4)
    shaken = looks + noise * np.random.default_rng(len(things)).standard_normal(looks.shape)
    masks = np.array([square(left) for _, left in things], bool).reshape(-1, *HW)
    return FrameObjects((label,) * len(things), 5 * shaken, masks)


def numbers(frames: Iterable[FrameObjects], tracks: Tracks | None = None) -> list[tuple[int, ...]]:
    tracks, found = tracks or Tracks(), []
    for objects in frames:
        ids, tracks = tracks.followed(objects)
        found.append(ids)
    return found


def test_two_that_cross_keep_their_numbers() -> None:
    """Whatever the order in which a frame lists them; in the middle both are in one place."""
    clip = [[(0, 4 * t), (1, 40 - 4 * t)] for t in range(11)]
    assert numbers(frame(things, noise=0.05) for things in clip) == [(1, 2)] * 11
    turned = [things[::-1] if t % 2 else things for t, things in enumerate(clip)]
    assert numbers(map(frame, turned)) == [(2, 1) if t % 2 else (1, 2) for t in range(11)]


def test_one_that_is_hidden_while_they_cross_is_found_again() -> None:
    clip = [[(0, 4 * t), (1, 40 - 4 * t)] for t in range(11)]
    for t in (4, 5, 6):
        clip[t] = clip[t][:1]
    assert numbers(map(frame, clip)) == [(1,) if t in (4, 5, 6) else (1, 2) for t in range(11)]


def test_two_that_look_the_same_are_told_by_where_they_are() -> None:
    clip = [[(0, 2 * t), (0, 40 + 2 * t)] for t in range(8)]
    turned = [things[::-1] if t % 2 else things for t, things in enumerate(clip)]
    assert numbers(map(frame, turned)) == [(2, 1) if t % 2 else (1, 2) for t in range(8)]


def test_who_leaves_and_comes_back_elsewhere_has_the_old_number() -> None:
    clip: list[list[Thing]] = [[(0, 10), (1, 40)], [(0, 10)], [], [(0, 12), (1, 70)], [(1, 70)]]
    assert numbers(map(frame, clip)) == [(1, 2), (1,), (), (1, 2), (2,)]


def test_who_stays_away_too_long_is_forgotten() -> None:
    away: list[list[Thing]] = [[]] * 3
    clip: list[list[Thing]] = [[(0, 10)], *away, [(0, 10)]]
    assert numbers(map(frame, clip), Tracks(memory_frames=3))[-1] == (1,)
    assert numbers(map(frame, clip), Tracks(memory_frames=2))[-1] == (2,)


def test_another_object_in_the_same_place_is_new() -> None:
    """Overlap alone does not make it the same if it looks like nothing seen; a number is given once."""
    clip: list[list[Thing]] = [[(0, 10)], [(1, 60)], [(2, 30), (3, 60)]]
    assert numbers(map(frame, clip)) == [(1,), (2,), (3, 4)]


def test_one_that_jumps_is_the_same_by_its_looks() -> None:
    assert numbers(map(frame, [[(0, 0), (1, 20)], [(0, 60), (1, 20)]])) == [(1, 2)] * 2


def test_labels_keep_objects_apart() -> None:
    assert numbers([frame([(0, 10)], "cup"), frame([(0, 10)], "bowl"), frame([(0, 10)], "cup")]) == [(1,), (2,), (1,)]


def test_a_frame_of_another_size_goes_by_looks() -> None:
    small = FrameObjects(("ball",) * 2, LOOKS[[1, 0]], np.ones((2, 4, 6), bool))
    assert numbers([frame([(0, 10), (1, 40)]), small, frame([(0, 70), (1, 0)])]) == [(1, 2), (2, 1), (1, 2)]


def test_a_frame_does_not_change_what_was_known_before() -> None:
    _, before = Tracks().followed(frame([(0, 10)]))
    first, second = (before.followed(frame([(1, 40), (0, 12)])) for _ in range(2))
    assert first[0] == second[0] == (2, 1) and (before.given, len(before.known)) == (1, 1)


def test_objects_need_one_of_each() -> None:
    with pytest.raises(ValueError, match="2 labels, 1 embeddings, 1 masks"):
        FrameObjects(("a", "b"), LOOKS[:1], np.zeros((1, *HW), bool))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**16))
def test_the_assignment_of_two_frames_is_the_best_of_all(first: int, second: int, seed: int) -> None:
    """Against every assignment there is, counted out with numpy's own sums."""
    draw = np.random.default_rng(seed)
    looks = [np.abs(draw.standard_normal((count, 3))) for count in (first, second)]
    masks = [draw.random((count, 6, 7)) < 0.7 for count in (first, second)]
    before, after = (FrameObjects(("x",) * len(look), look, mask) for look, mask in zip(looks, masks, strict=True))
    _, tracks = Tracks().followed(before)
    ids, _ = tracks.followed(after)
    assert len(set(ids)) == len(ids)

    def worth(i: int, j: int) -> float:
        a, b = looks[0][i], looks[1][j]
        cosine = a @ b / np.sqrt((a @ a) * (b @ b))
        union = (masks[0][i] | masks[1][j]).sum()
        mean = (cosine + (masks[0][i] & masks[1][j]).sum() / max(union, 1)) / 2
        return float(mean) if mean > tracking.ENOUGH else 0.0

    known = [i if i < first else -1 for i in range(first + second)]  # -1: new
    best = max(sum(worth(i, j) for j, i in enumerate(order[:second]) if i >= 0) for order in permutations(known))
    by_looks = {j for j, number in enumerate(ids) if number <= first and not worth(number - 1, j)}
    found = sum(worth(number - 1, j) for j, number in enumerate(ids) if number <= first and j not in by_looks)
    assert found == pytest.approx(best)
