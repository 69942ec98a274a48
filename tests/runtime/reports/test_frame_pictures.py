"""Pictures of frames: masks of what was named, numbers of what is followed."""

import numpy as np
import pytest

from hyperseg_runtime.contracts.results import TRACK, Instances
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.results import Kind
from hyperseg_runtime.reports.frame_pictures import NamedPictures, TrackedPictures, track_map, with_numbers
from hyperseg_runtime.reports.overlay import draw_best, draw_list, draw_overlay

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
KINDS = (Kind.MASK, Kind.OVERLAY)


def boxes(*corners: tuple[int, int]) -> np.ndarray:
    masks = np.zeros((len(corners), 40, 60), bool)
    for mask, (x, y) in zip(masks, corners, strict=True):
        mask[y : y + 15, x : x + 20] = True
    return masks


def named(text: str, corner: tuple[int, int]) -> Instances:
    return Instances(asked=(text,), task="video", masks=boxes(corner), scores=np.ones(1, np.float32), labels=(text,))


def tracked(*numbers: int) -> Instances:
    """Two cups that overlap, the better one first."""
    return Instances(
        asked=("cup", "box"),
        task="tracking",
        masks=boxes((5, 5), (15, 10))[: len(numbers)],
        scores=np.array([0.9, 0.5], np.float32)[: len(numbers)],
        labels=("cup", "cup")[: len(numbers)],
        instance_details=tuple({TRACK: number} for number in numbers),
    )


def test_masks_of_named_things_are_numbered_where_there_are_several() -> None:
    one, two = named("a", (5, 5)), named("b", (30, 20))
    drawn = list(NamedPictures().files(IMAGE, [one, two], KINDS))
    assert [(kind, number) for kind, number, _ in drawn] == [(kind, number) for number in (1, 2) for kind in KINDS]
    expected = [one.mask, draw_overlay(IMAGE, one.mask), two.mask, draw_overlay(IMAGE, two.mask)]
    assert all(np.array_equal(found, wanted) for (_, _, found), wanted in zip(drawn, expected, strict=True))
    assert [number for _, number, _ in NamedPictures().files(IMAGE, [one], KINDS)] == [None, None]
    assert np.array_equal(NamedPictures().film(IMAGE, [one, two]), draw_best(IMAGE, [one, two]))


def test_a_pixel_has_the_number_of_the_best_object() -> None:
    numbers = track_map(tracked(300, 7))
    assert numbers.dtype == np.uint16 and set(np.unique(numbers)) == {0, 7, 300}
    assert numbers[12, 18] == 300 and numbers[22, 30] == 7
    assert not track_map(tracked()).any()
    with pytest.raises(InputError, match="object 65536 of a video"):
        track_map(tracked(7, 65536))


def test_objects_have_one_colour_in_all_frames() -> None:
    result = tracked(3, 4)
    assert with_numbers(result).labels == ("cup 3", "cup 4")
    (mask, overlay) = TrackedPictures().files(IMAGE, [result], KINDS)
    assert (mask[0], mask[1], overlay[0]) == (Kind.MASK, None, Kind.OVERLAY)
    assert np.array_equal(mask[2], track_map(result))
    film = TrackedPictures().film(IMAGE, [result])
    assert np.array_equal(film, overlay[2]) and np.array_equal(film, draw_list(IMAGE, with_numbers(result)))
