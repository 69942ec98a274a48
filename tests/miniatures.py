"""Miniatures of published data sets, a few pictures each, in the layout of the real files (sources: the readers)."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hyperseg_runtime.contracts.results import encode_rle

SIDE = 12


def picture(path: Path, level: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE), (level, level, level)).save(path)


def written(path: Path, content: Any, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))


def square(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """(SIDE, SIDE) bool, borders as in Python's slices."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def polygon(x0: int, y0: int, x1: int, y1: int) -> list[float]:
    """COCO's polygon of `square`."""
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def refcoco(folder: Path, name: str = "refcoco", split_by: str = "unc") -> None:
    """One image, two objects: one of two polygons, one in uncompressed run lengths; refs as Python 2 pickled them."""
    picture(folder / "images/mscoco/images/train2014/COCO_train2014_000000000009.jpg")
    annotations = [
        {"id": 5, "image_id": 9, "category_id": 1, "segmentation": [polygon(0, 0, 4, 4), polygon(6, 6, 8, 8)]},
        {"id": 6, "image_id": 9, "category_id": 1, "segmentation": {"size": [SIDE, SIDE], "counts": [0, 12, 132]}},
    ]
    image = {"id": 9, "file_name": "COCO_train2014_000000000009.jpg", "height": SIDE, "width": SIDE}
    written(folder / name / "instances.json", {"images": [image], "annotations": annotations, "categories": []})
    references = [
        {
            "ref_id": number, "ann_id": annotation, "image_id": 9, "split": split, "category_id": 1,
            "file_name": "COCO_train2014_000000000009_1.jpg", "sent_ids": [number],
            "sentences": [{"sent_id": number, "sent": text, "raw": text.title(), "tokens": text.split()}],
        }
        for number, (annotation, split, text) in enumerate(
            [(5, "val", "both boxes"), (6, "testA", "left edge"), (6, "val", "the edge")]
        )
    ]  # fmt: skip
    (folder / name / f"refs({split_by}).p").write_bytes(pickle.dumps(references, protocol=0))


def grefcoco(folder: Path) -> None:
    """Expressions of two objects, of one, and of none."""
    refcoco(folder, "grefcoco")
    (folder / "grefcoco" / "refs(unc).p").unlink()
    references = [
        {
            "ref_id": number, "ann_id": annotations, "image_id": 9, "split": "val", "category_id": [1],
            "no_target": annotations == [-1], "sent_ids": [number],
            "sentences": [{"sent_id": number, "sent": text, "raw": text, "tokens": text.split()}],
        }
        for number, (annotations, text) in enumerate([([5, 6], "everything"), ([6], "the edge"), ([-1], "a zebra")])
    ]  # fmt: skip
    written(folder / "grefcoco" / "grefs(unc).json", references)


def reasonseg(folder: Path) -> None:
    """A sentence with a part that does not count, and a phrase in a file of Windows' Latin 1."""
    for name in ("111_0", "222_0"):
        picture(folder / "val" / f"{name}.jpg")

    def shape(label: str, *corners: int) -> dict[str, Any]:
        x0, y0, x1, y1 = corners
        points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
        return {"label": label, "shape_type": "polygon", "points": points}

    shapes = [shape("ignore", 1, 1, 2, 2), shape("target", 0, 0, 5, 5), shape("flag", 8, 8, 11, 11)]
    first = {"text": ["Where would a bird sit?", "another wording"], "is_sentence": True, "shapes": shapes}
    second = {"text": ["the café’s door"], "is_sentence": False, "shapes": shapes[1:]}
    written(folder / "val/111_0.json", first)
    written(folder / "val/222_0.json", second, "cp1252")


def ade20k(folder: Path) -> None:
    """Three classes, two of which share their first synonym; 0 is what does not count."""
    picture(folder / "images/validation/ADE_val_00000001.jpg")
    classes = np.zeros((SIDE, SIDE), np.uint8)
    classes[:, :4], classes[:, 4:8] = 1, 3
    (folder / "annotations/validation").mkdir(parents=True)
    Image.fromarray(classes).save(folder / "annotations/validation/ADE_val_00000001.png")
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName", "1\t0.2\t9\t1\t1\twall", "2\t0.1\t9\t1\t0\tscreen, crt"]
    (folder / "objectInfo150.txt").write_text("\n".join([*rows, "3\t0.1\t9\t1\t0\tscreen, projection"]) + "\n")


def revos(folder: Path) -> None:
    """One video of three frames; an expression of two objects, of which one is absent in a frame, and one of none."""
    for name in ("00000", "00001", "00002"):
        picture(folder / "JPEGImages/video1" / f"{name}.jpg")
    one, other = encode_rle(square(0, 0, 4, 4)), encode_rle(square(6, 6, 8, 8))
    written(folder / "mask_dict.json", {"0": [one, one, None], "1": [other, None, None]})
    expressions = {
        "0": {"exp": "the movers", "obj_id": [0, 1], "anno_id": [0, 1], "type_id": 0},
        "1": {"exp": "what may fall?", "obj_id": [1], "anno_id": [1], "type_id": 1},
        "2": {"exp": "the elephant", "obj_id": [], "anno_id": [], "type_id": 2},
    }
    frames = ["00000", "00001", "00002"]
    video = {"expressions": expressions, "frames": frames, "height": SIDE, "width": SIDE, "vid_id": 0}
    written(folder / "meta_expressions_valid_.json", {"videos": {"video1": video}})


def ref_davis(folder: Path) -> None:
    """One video of two frames, object 2 beside void (255)."""
    numbers = np.where(square(0, 0, 4, 4), 2, 0).astype(np.uint8)
    numbers[:, 11] = 255
    for name in ("00000", "00001"):
        picture(folder / "valid/JPEGImages/goat" / f"{name}.jpg")
        (folder / "valid/Annotations/goat").mkdir(parents=True, exist_ok=True)
        indexed = Image.fromarray(numbers, mode="P")
        indexed.putpalette([level for index in range(256) for level in (index, 255 - index, 128)])
        indexed.save(folder / "valid/Annotations/goat" / f"{name}.png")
    said = {"0": {"exp": "a goat", "obj_id": "2"}}
    content = {"videos": {"goat": {"expressions": said, "frames": ["00000", "00001"]}}}
    written(folder / "meta_expressions/valid/meta_expressions.json", content)


def coco(folder: Path) -> None:
    """One image: a thing, a crowd of the same category, stuff, and pixels of nothing."""
    picture(folder / "val2017/000000000042.jpg")
    image = {"id": 42, "file_name": "000000000042.jpg", "height": SIDE, "width": SIDE}
    categories = [{"id": 1, "name": "person", "isthing": 1}, {"id": 184, "name": "tree-merged", "isthing": 0}]
    numbers = np.zeros((SIDE, SIDE), np.int32)
    numbers[:4, :4], numbers[:4, 6:], numbers[6:] = 70000, 300, 9
    rgb = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype(np.uint8)
    (folder / "annotations/panoptic_val2017").mkdir(parents=True)
    Image.fromarray(rgb).save(folder / "annotations/panoptic_val2017/000000000042.png")
    infos = [(70000, 1, 0), (300, 1, 1), (9, 184, 0)]
    segments = [{"id": number, "category_id": category, "iscrowd": crowd} for number, category, crowd in infos]
    annotation = {"image_id": 42, "file_name": "000000000042.png", "segments_info": segments}
    panoptic = {"images": [image], "categories": categories, "annotations": [annotation]}
    written(folder / "annotations/panoptic_val2017.json", panoptic)
    objects = [
        {"id": 1, "image_id": 42, "category_id": 1, "area": 16, "iscrowd": 0, "bbox": [0, 0, 4, 4],
         "segmentation": [polygon(0, 0, 4, 4)]},
        {"id": 2, "image_id": 42, "category_id": 1, "area": 24, "iscrowd": 1, "bbox": [6, 0, 6, 4],
         "segmentation": {"size": [SIDE, SIDE], "counts": [72, *[4, 8] * 6]}},
    ]  # fmt: skip
    written(
        folder / "annotations/instances_val2017.json",
        {**panoptic, "categories": categories[:1], "annotations": objects},
    )
