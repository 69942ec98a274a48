"""The `run` verb with a list of classes, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from hyperseg_runtime.contracts.results import Instances, PanopticMap, Segment
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline
from support import RunCli

NAMES = ["the cup", "a spoon", "table"]


def test_a_class_list_is_one_result(
    run_cli: RunCli, tiny_bundle: Path, pipeline: Pipeline, coffee: Path, tmp_path: Path
) -> None:
    also = [part for kind in ("coco", "polygons", "labelme", "yolo") for part in ("--also", kind)]
    result = run_cli(
        "run", tiny_bundle, coffee, "--classes", ",".join(NAMES), "--out", tmp_path, "--report", "--json", *also
    )
    assert result.code == 0, result.err
    endings = "mask.png overlay.png result.json report.html coco.json polygons.json labelme.json yolo.txt".split()
    assert {path.name for path in tmp_path.iterdir()} == {f"coffee.jpg.{ending}" for ending in endings}
    with pipeline.open(coffee) as session:
        expected = session.segment_classes(NAMES)
    assert isinstance(expected, Instances)
    numbers = np.asarray(Image.open(tmp_path / "coffee.jpg.mask.png"))
    assert numbers.dtype == np.uint16 and np.array_equal(numbers, expected.label_map())
    assert json.loads(result.out)["asked"] == NAMES
    coco = COCO(tmp_path / "coffee.jpg.coco.json")
    assert [row["name"] for row in coco.loadCats([1, 2, 3])] == NAMES
    rows = coco.loadAnns(coco.getAnnIds())
    masks = {row["category_id"]: coco.annToMask(row).astype(bool) for row in rows}
    for label, mask in zip(expected.labels, expected.masks, strict=True):
        if mask.any():
            assert np.array_equal(masks[NAMES.index(label) + 1], mask)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["the cup", "--classes", "coco"], "got texts and --classes"),
        (["--classes", "nowhere.txt"], "there is no class list nowhere.txt"),
        (["--classes", "cup,cup"], "cup more than once"),
        (["--classes", "lists/missing.csv"], "there is no class list lists/missing.csv"),
        (["--classes", "cup", "--task", "semantic", "--min-score", "0.9"], "the task semantic gives no scores"),
        (["--classes", "cup, "], "an empty name: class 2 of 2"),
        (["--box", "10,10,10,40"], "has no area"),
        (["--point", "700,10"], "lies outside the image: the image has 600 x 400 px"),
        ([], "expected one of texts, --classes and regions, got nothing"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run_cli("run", tiny_bundle, coffee, *arguments, "--out", tmp_path)
    assert result.code == 2 and message in " ".join(result.err.split())
    assert not list(tmp_path.iterdir())


def test_scores_below_the_least_are_left_out(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    result = run_cli(
        "run", tiny_bundle, coffee, "--classes", "cup,spoon", "--min-score", "1", "--out", tmp_path, "--json"
    )
    assert result.code == 0 and json.loads(result.out)["instances"] == []
    assert not np.asarray(Image.open(tmp_path / "coffee.jpg.mask.png")).any()


def test_segments_below_the_least_are_left_out_too(
    run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.zeros((400, 600), np.int32)
    ids[:100], ids[100:200] = 1, 2
    segments = (Segment(1, 0, True, 0.95), Segment(2, 1, False, 0.85))
    found = PanopticMap(asked=("cup", "table"), task="panoptic", ids=ids, segments=segments)
    monkeypatch.setattr(ImageSession, "run", lambda session, request: [found])
    arguments = ("--classes", "cup,table", "--task", "panoptic", "--min-score", "0.9")
    result = run_cli("run", tiny_bundle, coffee, *arguments, "--out", tmp_path, "--json")
    assert result.code == 0, result.err
    assert [row["id"] for row in json.loads(result.out)["segments_info"]] == [1]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "coffee.jpg.mask.png"))[:, :, 0], np.where(ids == 1, 1, 0))
