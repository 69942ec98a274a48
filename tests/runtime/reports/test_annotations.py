"""Results in other tools' formats, read back."""

import json
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from hyperseg_runtime.contracts.results import Instances, PanopticMap, Segment, SemanticMap, decode_rle
from hyperseg_runtime.reports.annotations import Annotated, parts_of, rings_of

SIZE = (40, 60)


def blob(seed: int, holes: bool = False) -> np.ndarray:
    random = np.random.default_rng(seed)
    canvas = np.zeros(SIZE, np.uint8)
    for _ in range(3):
        centre, radius = (int(random.integers(5, 55)), int(random.integers(5, 35))), int(random.integers(2, 9))
        cv2.circle(canvas, centre, radius, 1, -1)
    if holes:
        cv2.circle(canvas, (30, 20), 14, 1, -1)
        cv2.circle(canvas, (30, 20), 5, 0, -1)
    return canvas.astype(bool)


@pytest.fixture
def instances() -> Instances:
    return Instances(
        asked=("cat", "dog"),
        task="instance",
        masks=np.stack([blob(1), blob(2, holes=True), np.zeros(SIZE, bool)]),
        scores=np.array([0.9, 0.5, 0.1], np.float32),
        labels=("dog", "cat", "dog"),
    )


def annotated(result: Instances | PanopticMap | SemanticMap, ids: dict[str, int] | None = None) -> Annotated:
    return Annotated.of(result, "a.jpg", SIZE, ids)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("holes", [False, True])
def test_polygons_filled_with_their_border_are_the_mask(seed: int, holes: bool) -> None:
    mask = blob(seed, holes)
    filled = np.zeros(SIZE, np.uint8)
    for outer, *inner in rings_of(mask):
        piece = cv2.fillPoly(np.zeros(SIZE, np.uint8), [np.array(outer, np.int32)], 1)
        for hole in inner:  # its line runs through pixels of the mask
            gone = cv2.fillPoly(np.zeros(SIZE, np.uint8), [np.array(hole, np.int32)], 1)
            piece[(gone == 1) & (cv2.polylines(gone.copy(), [np.array(hole, np.int32)], True, 2) == 1)] = 0
        filled |= piece
    assert np.array_equal(filled.astype(bool), mask)


def test_what_is_found_beyond_a_list_has_numbers_behind_its_own() -> None:
    """Such as parts of the objects of a panoptic map."""
    ids = np.ones(SIZE, np.int32)
    scene = PanopticMap(
        asked=("sky", "dog", "dog head"), task="panoptic parts", ids=ids, segments=(Segment(1, 2, True, 0.9),)
    )
    content = json.loads(annotated(scene, {"sky": 187, "dog": 18}).coco("a.jpg.mask.png"))
    assert {row["name"]: row["id"] for row in content["categories"]} == {"sky": 187, "dog": 18, "dog head": 188}
    assert content["annotations"][0]["segments_info"][0]["category_id"] == 188


def test_coco_has_every_object_with_its_category(instances: Instances) -> None:
    content = json.loads(annotated(instances, {"cat": 17, "dog": 18}).coco("a.jpg.mask.png"))
    assert content["images"] == [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}]
    assert content["categories"] == [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    first, second = content["annotations"]
    assert (first["category_id"], first["score"], second["category_id"]) == (18, 0.9, 17)
    assert np.array_equal(decode_rle(first["segmentation"]), instances.masks[0])
    assert second["area"] == instances.masks[1].sum()


def test_coco_panoptic_names_the_map() -> None:
    ids = np.zeros(SIZE, np.int32)
    ids[:10], ids[20:30] = 1, 2
    found = PanopticMap(
        asked=("sky", "cat"), task="panoptic", ids=ids, segments=(Segment(1, 0, False, 0.9), Segment(2, 1, True, 0.8))
    )
    content = json.loads(annotated(found, {"sky": 187, "cat": 17}).coco("a.jpg.mask.png"))
    (row,) = content["annotations"]
    assert row["file_name"] == "a.jpg.mask.png"
    assert [(s["id"], s["category_id"], s["isthing"], s["area"]) for s in row["segments_info"]] == [
        (1, 187, 0, 600),
        (2, 17, 1, 600),
    ]
    assert content["categories"] == [
        {"id": 187, "name": "sky", "isthing": 0},
        {"id": 17, "name": "cat", "isthing": 1},
    ]


def test_a_semantic_map_has_a_part_for_each_class_that_is_there() -> None:
    classes = np.full(SIZE, -1, np.int32)
    classes[:5] = 2
    found = SemanticMap(asked=("a", "b", "c"), task="semantic", classes=classes)
    (part,) = parts_of(found)
    assert (part.label, part.score) == ("c", None) and np.array_equal(part.mask, classes == 2)
    assert json.loads(annotated(found).coco("m"))["annotations"][0]["category_id"] == 3


def test_labelme_draws_the_masks_back(instances: Instances) -> None:
    content = json.loads(annotated(instances).labelme())
    assert (content["imagePath"], content["imageHeight"], content["imageWidth"]) == ("a.jpg", *SIZE)
    picture = Image.new("1", (60, 40))
    for shape in content["shapes"]:
        if shape["label"] == "dog":
            ImageDraw.Draw(picture).polygon([tuple(point) for point in shape["points"]], fill=1, outline=1)
    assert np.array_equal(np.asarray(picture), instances.masks[0])
    assert {shape["group_id"] for shape in content["shapes"]} == {1, 2}


def test_yolo_has_a_line_for_each_piece(instances: Instances) -> None:
    lines = [line.split() for line in annotated(instances).yolo().decode().splitlines()]
    assert {line[0] for line in lines} == {"0", "1"} and all(len(line) % 2 for line in lines)
    filled = np.zeros(SIZE, np.uint8)
    for line in lines:
        if line[0] == "1":
            points = np.array(line[1:], float).reshape(-1, 2) * (60, 40)
            cv2.fillPoly(filled, [np.rint(points).astype(np.int32)], 1)
    assert np.array_equal(filled.astype(bool), instances.masks[0])


def test_geojson_rings_are_closed(instances: Instances) -> None:
    content = json.loads(annotated(instances).polygons())
    assert [one["properties"]["label"] for one in content["features"]] == ["dog", "cat"]
    rings = [r for one in content["features"] for p in one["geometry"]["coordinates"] for r in p]
    assert all(ring[0] == ring[-1] for ring in rings)


@pytest.mark.parametrize("make", [Annotated.polygons, Annotated.labelme, Annotated.yolo])
def test_nothing_found_is_an_empty_file_of_its_kind(make: Callable[[Annotated], bytes]) -> None:
    nothing = Instances(
        asked=("cat",), task="t", masks=np.zeros((0, *SIZE), bool), scores=np.zeros(0, np.float32), labels=()
    )
    text = make(annotated(nothing)).decode()
    assert text == "" or not json.loads(text).get("features", []) + json.loads(text).get("shapes", [])
