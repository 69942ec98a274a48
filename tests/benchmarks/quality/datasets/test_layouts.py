"""Readers against miniatures in the published layouts: every mask, text and kind as it was put in."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import miniatures
from hyperseg_bench.quality.asks.clip import ClipAsk
from hyperseg_bench.quality.asks.expression import ExpressionAsk
from hyperseg_bench.quality.asks.instances import InstancesAsk
from hyperseg_bench.quality.asks.panoptic import PanopticAsk
from hyperseg_bench.quality.asks.semantic import SemanticAsk
from hyperseg_bench.quality.datasets.masks import annotation_mask
from hyperseg_bench.quality.datasets.refcoco import SEVERAL_OBJECTS
from hyperseg_bench.quality.datasets.registry import Choice, open_data_set
from hyperseg_bench.quality.metrics.panoptic import Segment
from hyperseg_bench.quality.metrics.stored_masks import StoredMasks
from hyperseg_bench.quality.samples import Sample
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError
from miniatures import SIDE, square


def only_sample(name: str, folder: Path, split: str | None = None) -> Sample:
    data = open_data_set(Choice(name, str(folder), split))
    assert len(data.keys) == 1
    return data.sample(data.keys[0])


def masks(sample: Sample) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for ask in sample.asks:
        assert isinstance(ask, ExpressionAsk | ClipAsk)
        found[ask.text] = ask.truth if isinstance(ask, ExpressionAsk) else np.stack(list(ask.truth))
    return found


def test_refcoco(tmp_path: Path) -> None:
    miniatures.refcoco(tmp_path)
    both, edge = square(0, 0, 4, 4) | square(6, 6, 8, 8), square(0, 0, 1, SIDE)
    np.testing.assert_equal(masks(only_sample("refcoco", tmp_path)), {"both boxes": both, "the edge": edge})
    np.testing.assert_equal(masks(only_sample("refcoco", tmp_path, "testA")), {"left edge": edge})


def test_grefcoco_joins_objects_and_knows_nothing(tmp_path: Path) -> None:
    miniatures.grefcoco(tmp_path)
    both, edge = square(0, 0, 4, 4) | square(6, 6, 8, 8), square(0, 0, 1, SIDE)
    expected = {"everything": both | edge, "the edge": edge, "a zebra": np.zeros((SIDE, SIDE), bool)}
    sample = only_sample("grefcoco", tmp_path)
    np.testing.assert_equal(masks(sample), expected)
    assert {ask.tasks for ask in sample.asks} == {SEVERAL_OBJECTS}


def test_reasonseg_leaves_out_what_does_not_count(tmp_path: Path) -> None:
    miniatures.reasonseg(tmp_path)
    data = open_data_set(Choice("reasonseg", str(tmp_path)))
    first, second = (data.sample(key).asks[0] for key in data.keys)
    assert isinstance(first, ExpressionAsk) and isinstance(second, ExpressionAsk) and first.void is not None
    assert (first.text, first.kind, second.text, second.kind) == (
        "Where would a bird sit?", "long", "the café’s door", "short",
    )  # fmt: skip
    np.testing.assert_array_equal(first.void, square(1, 1, 3, 3))  # outlines belong to the polygon
    np.testing.assert_array_equal(first.truth, square(0, 0, 6, 6) & ~first.void)
    assert first.tasks == ("reasoning",)


APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X"


@pytest.mark.parametrize(
    ("make", "name", "file"),
    [
        (miniatures.reasonseg, "reasonseg", "val/._111_0.json"),
        (miniatures.ade20k, "ade20k", "annotations/validation/._ADE_val_00000001.png"),
    ],
)
def test_what_macos_writes_beside_files_is_no_sample(
    tmp_path: Path, make: Callable[[Path], None], name: str, file: str
) -> None:
    make(tmp_path)
    expected = list(open_data_set(Choice(name, str(tmp_path))).keys)
    (tmp_path / file).write_bytes(APPLE_DOUBLE)
    data = open_data_set(Choice(name, str(tmp_path)))
    assert list(data.keys) == expected and all(data.sample(key).asks for key in data.keys)


def test_ade20k_numbers_classes_from_one(tmp_path: Path) -> None:
    miniatures.ade20k(tmp_path)
    (ask,) = only_sample("ade20k", tmp_path).asks
    assert isinstance(ask, SemanticAsk)
    assert ask.names == ("wall", "screen, crt", "screen, projection")
    np.testing.assert_array_equal(ask.truth[0], [0] * 4 + [2] * 4 + [-1] * 4)


def test_revos_joins_annotations_frame_by_frame(tmp_path: Path) -> None:
    miniatures.revos(tmp_path)
    sample = only_sample("revos", tmp_path)
    assert len(sample.frames) == 3
    assert [ask.kind for ask in sample.asks] == ["referring", "reasoning", "absent"]
    one, other, none = square(0, 0, 4, 4), square(6, 6, 8, 8), np.zeros((SIDE, SIDE), bool)
    expected = [[one | other, one, none], [other, none, none], [none] * 3]
    np.testing.assert_equal(list(masks(sample).values()), [np.stack(frames) for frames in expected])


def test_ref_davis_takes_objects_by_number_and_void_apart(tmp_path: Path) -> None:
    miniatures.ref_davis(tmp_path)
    (ask,) = only_sample("ref-davis", tmp_path).asks
    assert isinstance(ask, ClipAsk) and ask.void is not None
    np.testing.assert_array_equal(list(ask.truth), [square(0, 0, 4, 4)] * 2)
    np.testing.assert_array_equal(list(ask.void), [square(11, 0, 12, SIDE)] * 2)
    found = StoredMasks(square(0, 0, 4, 4) | square(11, 0, 12, SIDE) for _ in range(2))
    assert ask.score([found])["j_and_f"] == 1  # what lies on void is neither right nor wrong


def test_coco_panoptic(tmp_path: Path) -> None:
    miniatures.coco(tmp_path)
    panoptic, semantic = only_sample("coco-panoptic", tmp_path).asks
    assert isinstance(panoptic, PanopticAsk) and isinstance(semantic, SemanticAsk)
    assert panoptic.names == ("person", "tree-merged") and panoptic.things == (True, False)
    assert panoptic.segments == (Segment(70000, 0), Segment(300, 0, crowd=True), Segment(9, 1))
    assert np.unique(panoptic.truth).tolist() == [0, 9, 300, 70000]
    np.testing.assert_array_equal(semantic.truth[0], [0] * 4 + [-1] * 2 + [0] * 6)
    assert (semantic.truth[6:] == 1).all()


def test_coco_instances(tmp_path: Path) -> None:
    miniatures.coco(tmp_path)
    (ask,) = only_sample("coco-instances", tmp_path).asks
    assert isinstance(ask, InstancesAsk)
    thing, crowd = (annotation_mask(annotation, SIDE, SIDE) for annotation in ask.truth)
    np.testing.assert_array_equal(thing, square(0, 0, 4, 4))
    np.testing.assert_array_equal(crowd, square(6, 0, 12, 4))
    found = np.stack([square(0, 0, 4, 4), square(6, 0, 9, 4)])
    result = Instances(
        asked=ask.names, task="any", masks=found, scores=np.array([0.9, 0.8], np.float32), labels=("person",) * 2
    )
    score = json.loads(json.dumps(ask.score([result])))
    assert score["ap"] == pytest.approx(1)  # the one on the crowd is excused
    assert InstancesAsk.numbers([score])["ap"] == pytest.approx(1)


BROKEN: list[tuple[Callable[[Path], None], str, str, Callable[[Path], object], str]] = [
    (miniatures.refcoco, "refcoco", "refcoco/refs(unc).p", lambda path: path.write_bytes(b"text"), "is no pickle"),
    (miniatures.refcoco, "refcoco", "refcoco/instances.json", lambda path: path.write_text("{"), "is no JSON"),
    (miniatures.refcoco, "refcoco", "refcoco/instances.json", lambda path: path.write_text("{}"), "expected 'images'"),
    (miniatures.grefcoco, "grefcoco", "grefcoco/grefs(unc).json", Path.unlink, "expected grefcoco/grefs"),
    (miniatures.reasonseg, "reasonseg", "val/111_0.jpg", Path.unlink, "the image is missing"),
    (miniatures.ade20k, "ade20k", "objectInfo150.txt", lambda path: path.write_text("a,b\n"), "columns Idx and Name"),
    (miniatures.revos, "revos", "mask_dict.json", lambda path: path.write_text("{}"), "no masks of annotation 0"),
    (miniatures.coco, "coco-panoptic", "annotations/panoptic_val2017/000000000042.png", Path.unlink, "is missing"),
]


@pytest.mark.parametrize(("make", "name", "file", "damage", "words"), BROKEN)
def test_what_is_broken_is_told(
    tmp_path: Path, make: Callable[[Path], None], name: str, file: str, damage: Callable[[Path], object], words: str
) -> None:
    make(tmp_path)
    damage(tmp_path / file)
    with pytest.raises(InputError, match=words):
        data = open_data_set(Choice(name, str(tmp_path)))
        data.sample(data.keys[0])


class Harmful:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return print, ("harm",)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    miniatures.refcoco(tmp_path)
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([Harmful()]))
    with pytest.raises(InputError, match="lists, dicts, numbers and text only"):
        open_data_set(Choice("refcoco", str(tmp_path)))
