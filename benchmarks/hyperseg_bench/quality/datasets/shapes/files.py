"""Made data in the layouts of published data sets, so that whoever reads those can read these.

COCO instances and panoptic (cocodataset.org/#format-data), RefCOCO (github.com/lichengunc/refer), and DAVIS with the
expressions of Ref-DAVIS (one JSON file as in Ref-YouTube-VOS).
"""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hyperseg_bench.quality.datasets.shapes.classes import BACKGROUND, CLASSES, class_of, panoptic
from hyperseg_bench.quality.datasets.shapes.clips import Clip
from hyperseg_bench.quality.datasets.shapes.expressions import Expression
from hyperseg_bench.quality.datasets.shapes.scene import Scene
from hyperseg_runtime.contracts.results import box_xyxy, encode_rle

PALETTE = [level for index in range(256) for level in (index * 67 % 256, index * 129 % 256, index * 201 % 256)]
Json = dict[str, Any]


def write_coco(folder: Path, scenes: Sequence[Scene]) -> None:
    """images/, annotations/instances.json, annotations/panoptic.json and annotations/panoptic/ with one PNG a scene."""
    images, annotations = folder / "images", folder / "annotations"
    maps = annotations / "panoptic"
    for made in (images, maps):
        made.mkdir(parents=True, exist_ok=True)
    instances: list[Json] = []
    panoptics: list[Json] = []
    for scene in scenes:
        Image.fromarray(scene.image).save(images / image_name(scene))
        instances += _instances(scene, first=len(instances) + 1)
        panoptics.append(_panoptic(scene, maps))
    common = {"images": [_image(scene) for scene in scenes], "categories": categories()}
    things = [category for category in common["categories"] if category["isthing"]]
    _write(annotations / "instances.json", {**common, "categories": things, "annotations": instances})
    _write(annotations / "panoptic.json", {**common, "annotations": panoptics})


def write_refcoco(
    folder: Path, scenes: Sequence[Scene], expressions: Sequence[Sequence[Expression]], split: str = "val"
) -> None:
    """images/, instances.json and refs(unc).p as RefCOCO has them: one reference per object, with all its sentences.

    Only expressions of one target fit that layout; plurals are left out.
    """
    write_coco(folder, scenes)
    (folder / "annotations" / "instances.json").replace(folder / "instances.json")
    ids = {(a["image_id"], a["thing"]): a for a in json.loads((folder / "instances.json").read_text())["annotations"]}
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
    (folder / "refs(unc).p").write_bytes(pickle.dumps(list(references.values()), protocol=2))


def write_davis(folder: Path, clips: Sequence[Clip], expressions: Sequence[Sequence[Expression]]) -> None:
    """JPEGImages/, Annotations/ (indexed PNG, object numbers) and meta_expressions.json.

    Each expression's `obj_ids` are the numbers of its things in the annotations.
    """
    videos: Json = {}
    for clip, said in zip(clips, expressions, strict=True):
        name = f"{clip.seed:06}"
        frames, masks = folder / "JPEGImages" / name, folder / "Annotations" / name
        for made in (frames, masks):
            made.mkdir(parents=True, exist_ok=True)
        for index, (frame, labels) in enumerate(zip(clip.frames, clip.labels, strict=True)):
            Image.fromarray(frame).save(frames / f"{index:05}.jpg", quality=95)
            indexed = Image.fromarray(labels, mode="P")
            indexed.putpalette(PALETTE)
            indexed.save(masks / f"{index:05}.png")
        entries = {
            str(number): {"exp": expression.text, "obj_ids": [str(target + 1) for target in expression.targets]}
            for number, expression in enumerate(said)
        }
        videos[name] = {"expressions": entries, "frames": [f"{index:05}" for index in range(len(clip.frames))]}
    _write(folder / "meta_expressions.json", {"videos": videos})


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


def _instances(scene: Scene, first: int) -> list[Json]:
    made = []
    for index, thing in enumerate(scene.things):
        mask = scene.mask([index])
        made.append(
            {
                "id": first + index, "image_id": scene.seed, "category_id": CLASSES.index(class_of(thing)) + 1,
                "segmentation": encode_rle(mask), "area": int(mask.sum()), "bbox": _box_xywh(mask), "iscrowd": 0,
                "thing": index,
            }
        )  # fmt: skip
    return made


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
        infos.append({**info, "bbox": _box_xywh(mask), "iscrowd": 0})
    return {"image_id": scene.seed, "file_name": image_name(scene), "segments_info": infos}


def _box_xywh(mask: np.ndarray) -> list[int]:
    left, top, right, bottom = box_xyxy(mask)
    return [left, top, right - left, bottom - top]


def _write(path: Path, content: Json) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
