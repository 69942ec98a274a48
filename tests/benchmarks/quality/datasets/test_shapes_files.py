"""Made data in published layouts, read back with the layouts' own tools where there are any."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from hyperseg_bench.quality.datasets.shapes.classes import CLASSES, class_of, panoptic
from hyperseg_bench.quality.datasets.shapes.clips import clip_expressions, make_clip
from hyperseg_bench.quality.datasets.shapes.expressions import choose_expressions
from hyperseg_bench.quality.datasets.shapes.scene import Scene, make_scene
from shapes_files import write_coco, write_grefcoco, write_ref_davis, write_refcoco

SCENES = [make_scene(seed, side_px=64) for seed in (3, 11)]


def test_pycocotools_reads_the_instances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path, SCENES)
    coco = COCO(tmp_path / "annotations" / "instances_val2017.json")
    for scene in SCENES:
        (image,) = coco.loadImgs([scene.seed])
        stored = np.asarray(Image.open(tmp_path / "val2017" / image["file_name"]))
        np.testing.assert_array_equal(stored, scene.image)
        annotations = coco.loadAnns(coco.getAnnIds([scene.seed]))
        assert len(annotations) == len(scene.things)
        for index, (annotation, thing) in enumerate(zip(annotations, scene.things, strict=True)):
            np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), scene.mask([index]))
            assert coco.cats[annotation["category_id"]]["name"] == class_of(thing)


def test_the_panoptic_maps_hold_every_segment_once(tmp_path: Path) -> None:
    write_coco(tmp_path, SCENES)
    content = json.loads((tmp_path / "annotations" / "panoptic_val2017.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert list(names.values()) == list(CLASSES)
    for scene, annotation in zip(SCENES, content["annotations"], strict=True):
        rgb = np.asarray(Image.open(tmp_path / "annotations" / "panoptic_val2017" / annotation["file_name"]), np.int64)
        numbers = rgb @ [1, 256, 65536]
        expected, segments = panoptic(scene)
        np.testing.assert_array_equal(numbers, expected)
        infos = annotation["segments_info"]
        assert [names[info["category_id"]] for info in infos] == [segment.class_name for segment in segments]
        assert [info["area"] for info in infos] == [(numbers == info["id"]).sum() for info in infos]
        assert sum(info["area"] for info in infos) == numbers.size


def test_references_hold_the_sentences_of_one_object_each(tmp_path: Path) -> None:
    said = [choose_expressions(scene.things, 12, np.random.default_rng(scene.seed)) for scene in SCENES]
    write_refcoco(tmp_path, SCENES, said)
    references = pickle.loads((tmp_path / "refcoco" / "refs(unc).p").read_bytes())
    annotations = {a["id"]: a for a in json.loads((tmp_path / "refcoco" / "instances.json").read_text())["annotations"]}
    found = {
        (reference["image_id"], annotations[reference["ann_id"]]["thing"], sentence["raw"])
        for reference in references
        for sentence in reference["sentences"]
    }
    single = [
        (s.seed, e.targets[0], e.text) for s, es in zip(SCENES, said, strict=True) for e in es if e.kind != "plural"
    ]
    assert found == set(single)
    assert len({reference["ann_id"] for reference in references}) == len(references)


def test_references_of_several_objects_hold_every_sentence(tmp_path: Path) -> None:
    said = [choose_expressions(scene.things, 12, np.random.default_rng(scene.seed)) for scene in SCENES]
    write_grefcoco(tmp_path, SCENES, said)
    references = json.loads((tmp_path / "grefcoco" / "grefs(unc).json").read_text())
    content = json.loads((tmp_path / "grefcoco" / "instances.json").read_text())
    thing_of = {annotation["id"]: annotation["thing"] for annotation in content["annotations"]}
    found = [
        (reference["image_id"], reference["sentences"][0]["sent"], tuple(thing_of[n] for n in reference["ann_id"]))
        for reference in references
    ]
    assert found == [(s.seed, e.text, e.targets) for s, es in zip(SCENES, said, strict=True) for e in es]


def test_clips_are_written_as_numbered_frames_with_object_numbers(tmp_path: Path) -> None:
    clip = make_clip(2, side_px=64, frames=3)
    said = clip_expressions(clip, 3, np.random.default_rng(0))
    write_ref_davis(tmp_path, [clip], [said])
    content = json.loads((tmp_path / "meta_expressions" / "valid" / "meta_expressions.json").read_text())["videos"][
        "000002"
    ]
    assert content["frames"] == ["00000", "00001", "00002"]
    for index, name in enumerate(content["frames"]):
        stored = Image.open(tmp_path / "valid" / "Annotations" / "000002" / f"{name}.png")
        assert stored.mode == "P"
        np.testing.assert_array_equal(np.asarray(stored), clip.labels[index])
        frame = np.asarray(Image.open(tmp_path / "valid" / "JPEGImages" / "000002" / f"{name}.png"))
        np.testing.assert_array_equal(frame, clip.frames[index])
    for entry, expression in zip(content["expressions"].values(), said, strict=True):
        assert entry == {"exp": expression.text, "obj_id": [str(target + 1) for target in expression.targets]}


def test_scene_masks_are_disjoint() -> None:
    def masks(scene: Scene) -> np.ndarray:
        return np.stack([scene.mask([index]) for index in range(len(scene.things))])

    assert all(masks(scene).sum(0).max() == 1 for scene in SCENES)
