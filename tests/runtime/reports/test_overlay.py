from dataclasses import replace

import numpy as np
import pytest

from hyperseg_runtime.contracts.results import (
    PARTS,
    Instances,
    PanopticMap,
    Segment,
    SemanticMap,
    encode_png,
    encode_rle,
)
from hyperseg_runtime.reports.colours import colour_of
from hyperseg_runtime.reports.overlay import (
    COLOUR_RGB,
    DIMMED,
    OPACITY,
    SPOTLIGHT_RGB,
    draw_list,
    draw_overlay,
    draw_spotlight,
)
from hyperseg_runtime.reports.result_files import overlay_of


def test_mask_is_tinted_outline_is_solid_and_the_rest_untouched() -> None:
    image, mask = photo(40, 60), np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    drawn = draw_overlay(image, mask)
    assert drawn.dtype == np.uint8 and drawn.shape == image.shape
    assert np.array_equal(drawn[~mask], image[~mask])
    edge = mask & ~shrunk(mask)
    assert (drawn[edge] == COLOUR_RGB).all()
    inside = shrunk(mask)
    expected = image[inside] * (1 - OPACITY) + np.array(COLOUR_RGB) * OPACITY
    assert np.abs(drawn[inside] - expected).max() < 1.01  # of 255, rounded down


def test_a_hole_has_an_outline_of_its_own() -> None:
    image, mask = photo(40, 60), np.ones((40, 60), bool)
    mask[15:25, 20:40] = False
    drawn = draw_overlay(image, mask)
    assert (drawn[14, 20:40] == COLOUR_RGB).all()
    assert np.array_equal(drawn[16:24, 21:39], image[16:24, 21:39])


def test_inputs_are_left_as_they_are() -> None:
    image, mask = photo(20, 30), np.eye(20, 30, dtype=bool)
    before = image.copy(), mask.copy()
    draw_overlay(image, mask)
    assert np.array_equal(image, before[0]) and np.array_equal(mask, before[1])


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (50, 1), (2, 2)])
def test_small_images_and_empty_and_full_masks(size_hw: tuple[int, int]) -> None:
    image = photo(*size_hw)
    assert np.array_equal(draw_overlay(image, np.zeros(size_hw, bool)), image)
    full = draw_overlay(image, np.ones(size_hw, bool))
    assert full.shape == image.shape and (full[0, 0] == COLOUR_RGB).all()


def test_views_are_drawn_on() -> None:
    image, mask = photo(40, 60), np.zeros((40, 60), bool)
    mask[5:20, 30:40] = True
    flipped = draw_overlay(image[:, ::-1], mask[:, ::-1])
    assert np.array_equal(flipped, draw_overlay(image, mask)[:, ::-1])


def test_outlines_of_large_images_are_thicker() -> None:
    image, mask = photo(10, 2000), np.zeros((10, 2000), bool)
    mask[:, 500:1500] = True
    row = (draw_overlay(image, mask)[5] == COLOUR_RGB).all(1)
    assert row[494:506].sum() > 3


def test_a_spotlight_leaves_the_mask_as_it_is_and_dims_the_rest() -> None:
    image, mask = photo(40, 60), np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    drawn = draw_spotlight(image, mask)
    assert drawn.dtype == np.uint8 and drawn.shape == image.shape
    assert np.array_equal(drawn[shrunk(mask)], image[shrunk(mask)])
    assert (drawn[mask & ~shrunk(mask)] == SPOTLIGHT_RGB).all()
    assert np.abs(drawn[~mask] - image[~mask] * DIMMED).max() < 1.01
    assert np.array_equal(draw_spotlight(image[:, ::-1], mask[:, ::-1]), drawn[:, ::-1])


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def shrunk(mask: np.ndarray) -> np.ndarray:
    """Pixels all of whose eight neighbours are in the mask too."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    inner: np.ndarray = np.logical_and.reduce(
        [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    )
    return inner


def test_every_part_of_a_result_has_its_classes_colour() -> None:
    image = np.zeros((80, 120, 3), np.uint8)
    ids = np.zeros((80, 120), np.int32)
    ids[40:, :60], ids[40:, 60:] = 1, 2
    segments = (Segment(1, 0, False, 0.9), Segment(2, 1, True, 0.8))
    drawn = draw_list(image, PanopticMap(asked=("grass", "größe"), task="panoptic", ids=ids, segments=segments))
    assert (drawn[:30] == 0).all()
    for name, x in (("grass", 20), ("größe", 100)):
        assert np.abs(drawn[75, x] - np.array(colour_of(name)) * OPACITY).max() < 1.01
    classes = np.where(ids > 0, ids - 1, -1).astype(np.int32)
    semantic = draw_list(image, SemanticMap(asked=("grass", "größe"), task="semantic", classes=classes))
    assert np.array_equal(semantic[70:], drawn[70:]) and not np.array_equal(semantic, drawn)  # it has no scores
    assert not image.any()


def test_the_best_instance_is_drawn_last() -> None:
    masks = np.ones((2, 60, 90), bool)
    found = Instances(
        asked=("a", "b"), task="t", masks=masks, scores=np.array([0.9, 0.1], np.float32), labels=("a", "b")
    )
    top = draw_list(np.zeros((60, 90, 3), np.uint8), found)[50, 80]
    assert np.abs(top - np.array(colour_of("a")) * OPACITY - np.array(colour_of("b")) * OPACITY * 0.55).max() < 2


def with_parts() -> Instances:
    """A dog over the whole image with a head on its lower left."""
    head = np.zeros((60, 90), bool)
    head[30:, :40] = True
    part = {"name": "head", "area_px": int(head.sum()), "segmentation": encode_rle(head)}
    return Instances(
        asked=("dog",), task="parts", masks=np.ones((1, 60, 90), bool), scores=np.array([0.9], np.float32),
        labels=("dog",), instance_details=({PARTS: [part]},),
    )  # fmt: skip


def test_parts_are_drawn_over_their_object_in_colours_of_their_own() -> None:
    black = np.zeros((60, 90, 3), np.uint8)
    drawn = draw_list(black, with_parts())
    dog, head = (np.array(colour_of(name)) * OPACITY for name in ("dog", "head"))
    assert np.abs(drawn[50, 70] - dog).max() < 2
    assert np.abs(drawn[50, 20] - head - dog * (1 - OPACITY)).max() < 2
    plain = draw_list(black, replace(with_parts(), instance_details=()))
    named = (drawn[28:42, 8:34] == colour_of("head")).all(-1)
    assert named.sum() > 100 and not (plain[28:42, 8:34] == colour_of("head")).all(-1).any()


def test_the_overlay_of_one_class_shows_the_parts_of_its_objects() -> None:
    black = np.zeros((60, 90, 3), np.uint8)
    assert overlay_of(with_parts(), black) == encode_png(draw_list(black, with_parts()))
    plain = replace(with_parts(), instance_details=())
    assert overlay_of(plain, black) == encode_png(draw_overlay(black, plain.mask))


def test_a_colour_is_made_of_the_name_alone() -> None:
    assert colour_of("cat") == colour_of("cat")
    assert len({colour_of(f"class {number}") for number in range(200)}) == 48
