"""Made data in the layouts of published data sets, so that their readers have something to read."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hyperseg_bench.quality.datasets.shapes.classes import BACKGROUND, CLASSES, box_xywh, instances, panoptic
from hyperseg_bench.quality.datasets.shapes.clips import Clip
from hyperseg_bench.quality.datasets.shapes.expressions import Expression
from hyperseg_bench.quality.datasets.shapes.scene import Scene

PALETTE = [level for index in range(256) for level in (index * 67 % 256, index * 129 % 256, index * 201 % 256)]
Json = dict[str, Any]


def write_coco(folder: Path, scenes: Sequence[Scene], split: str = "val") -> None:
    """As COCO's 2017 files: images, instances, panoptic segments and one PNG of segment numbers for each scene."""
    images, annotations = folder / f"{split}2017", folder / "annotations"
    maps = annotations / f"panoptic_{split}2017"
    for made in (images, maps):
        made.mkdir(parents=True, exist_ok=True)
    panoptics = [_panoptic(scene, maps) for scene in scenes]
    for scene in scenes:
        Image.fromarray(scene.image).save(images / image_name(scene))
    _write(annotations / f"instances_{split}2017.json", _instances_file(scenes))
    common = {"images": [_image(scene) for scene in scenes], "categories": categories()}
    _write(annotations / f"panoptic_{split}2017.json", {**common, "annotations": panoptics})


def write_refcoco(
    folder: Path, scenes: Sequence[Scene], expressions: Sequence[Sequence[Expression]], split: str = "val"
) -> None:
    """As RefCOCO: one reference per object, with all its sentences.

    Only expressions of one target fit that layout; plurals are left out.
    """
    ids = _write_referred(folder, "refcoco", scenes)
    references: dict[int, Json] = {}
    sentences = 0
    for scene, said in zip(scenes, expressions, strict=True):
        for expression in said:
            if len(expression.targets) != 1:
                continue
            annotation = ids[scene.seed, expression.targets[0]]
            empty = {
                "ref_id": len(references), "ann_id": annotation["id"], "image_id": scene.seed,
                "category_id": annotation["category_id"], "file_name": image_name(scene), "split": split,
                "sentences": [], "sent_ids": [],
            }  # fmt: skip
            reference = references.setdefault(annotation["id"], empty)
            sentence = {"sent_id": sentences, "sent": expression.text, "raw": expression.text}
            reference["sentences"].append({**sentence, "tokens": expression.text.split()})
            reference["sent_ids"].append(sentences)
            sentences += 1
    (folder / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(list(references.values()), protocol=2))


def write_grefcoco(
    folder: Path, scenes: Sequence[Scene], expressions: Sequence[Sequence[Expression]], split: str = "val"
) -> None:
    """As gRefCOCO: one reference per expression, with all its objects."""
    ids = _write_referred(folder, "grefcoco", scenes)
    references: list[Json] = []
    for scene, said in zip(scenes, expressions, strict=True):
        for expression in said:
            number = len(references)
            named = [ids[scene.seed, target] for target in expression.targets]
            sentence = {"sent_id": number, "sent": expression.text, "raw": expression.text}
            references.append(
                {
                    "ref_id": number, "image_id": scene.seed, "split": split, "file_name": image_name(scene),
                    "ann_id": [annotation["id"] for annotation in named], "no_target": False,
                    "category_id": [annotation["category_id"] for annotation in named],
                    "sentences": [{**sentence, "tokens": expression.text.split()}], "sent_ids": [number],
                }
            )  # fmt: skip
    _write(folder / "grefcoco" / "grefs(unc).json", references)


def _write_referred(folder: Path, name: str, scenes: Sequence[Scene]) -> dict[tuple[int, int], Json]:
    """Images and instances of RefCOCO's layout; the annotation of each scene's things."""
    images = folder / "images" / "train2014"
    for made in (images, folder / name):
        made.mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        Image.fromarray(scene.image).save(images / image_name(scene))
    content = _instances_file(scenes)
    _write(folder / name / "instances.json", content)
    return {(a["image_id"], a["thing"]): a for a in content["annotations"]}


def _instances_file(scenes: Sequence[Scene]) -> Json:
    annotations: list[Json] = []
    for scene in scenes:
        annotations += instances(scene, first=len(annotations) + 1)
    things = [category for category in categories() if category["isthing"]]
    return {"images": [_image(scene) for scene in scenes], "categories": things, "annotations": annotations}


def write_ref_davis(
    folder: Path, clips: Sequence[Clip], expressions: Sequence[Sequence[Expression]], split: str = "valid"
) -> None:
    """As Ref-DAVIS17 in Ref-YouTube-VOS's layout; frames are PNG, so that no pixel changes.

    Each expression's `obj_id` holds the numbers of its things in the annotations: a list, since it may name several.
    """
    videos: Json = {}
    for clip, said in zip(clips, expressions, strict=True):
        name = clip_name(clip)
        frames, masks = folder / split / "JPEGImages" / name, folder / split / "Annotations" / name
        for made in (frames, masks):
            made.mkdir(parents=True, exist_ok=True)
        for index, (frame, labels) in enumerate(zip(clip.frames, clip.labels, strict=True)):
            Image.fromarray(frame).save(frames / f"{index:05}.png")
            indexed = Image.fromarray(labels, mode="P")
            indexed.putpalette(PALETTE)
            indexed.save(masks / f"{index:05}.png")
        entries = {
            str(number): {"exp": expression.text, "obj_id": [str(target + 1) for target in expression.targets]}
            for number, expression in enumerate(said)
        }
        videos[name] = {"expressions": entries, "frames": [f"{index:05}" for index in range(len(clip.frames))]}
    said_folder = folder / "meta_expressions" / split
    said_folder.mkdir(parents=True, exist_ok=True)
    _write(said_folder / "meta_expressions.json", {"videos": videos})


def clip_name(clip: Clip) -> str:
    return f"{clip.seed:06}"


def categories() -> list[Json]:
    """COCO categories of `CLASSES`."""
    return [
        {"id": index, "name": name, "supercategory": name.split()[-1], "isthing": int(name != BACKGROUND)}
        for index, name in enumerate(CLASSES, 1)
    ]


def image_name(scene: Scene) -> str:
    return f"{scene.seed:012}.png"


def _image(scene: Scene) -> Json:
    height, width = scene.labels.shape
    return {"id": scene.seed, "file_name": image_name(scene), "height": height, "width": width}


def _panoptic(scene: Scene, folder: Path) -> Json:
    """The annotation; its map is written as RGB with number = R + 256 G + 65536 B."""
    numbers, segments = panoptic(scene)
    parts = [numbers % 256, numbers // 256 % 256, numbers // 65536]
    Image.fromarray(np.stack(parts, axis=-1).astype(np.uint8)).save(folder / image_name(scene))
    infos = []
    for segment in segments:
        mask = numbers == segment.number
        category = CLASSES.index(segment.class_name) + 1
        info = {"id": segment.number, "category_id": category, "area": int(mask.sum())}
        infos.append({**info, "bbox": box_xywh(mask), "iscrowd": 0})
    return {"image_id": scene.seed, "file_name": image_name(scene), "segments_info": infos}


def _write(path: Path, content: Json | list[Json]) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
