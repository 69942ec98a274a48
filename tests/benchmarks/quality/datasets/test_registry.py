"""Data sets by name: what is written in a published layout is read back the same, what is missing is told."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

from hyperseg_bench.quality.answering import answered
from hyperseg_bench.quality.datasets.registry import DATA_SETS, Choice, open_data_set, source_of
from hyperseg_bench.quality.datasets.shapes.asked import ClassScenes, Clips, Scenes
from hyperseg_bench.quality.samples import DataSet, Row
from hyperseg_bench.quality.table import make_table
from hyperseg_runtime.errors import InputError, Notice
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.session.pipeline import Pipeline
from knowing_pipeline import Knowing
from shapes_files import write_coco, write_grefcoco, write_ref_davis, write_refcoco

SEEDS = range(3)
SCENES, CLIPS = Scenes(SEEDS), Clips(SEEDS)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """Right in the right half of every picture only, so that masks and numbers are not all alike."""
    return cast(Pipeline, Knowing(SEEDS, shrink=True))


def rows_of(pipeline: Pipeline, data: DataSet, keep: Callable[[Row], bool] = lambda row: True) -> list[Row]:
    """Without what a layout has no place for: names and kinds of asks."""
    rows = [row for key in data.keys for row in answered(pipeline, data.sample(key)) if keep(row)]
    return [{**row, "ask": "", "kind": "all"} for row in sorted(rows, key=lambda row: (row["measure"], row["asked"]))]


def written_scenes(folder: Path, write: Callable[..., None]) -> None:
    scenes = [SCENES.scene(key) for key in SCENES.keys]
    write(folder, [scene for scene, _, _ in scenes], [said for _, said, _ in scenes])


@pytest.mark.parametrize(
    ("name", "write", "plurals"), [("refcoco", write_refcoco, False), ("grefcoco", write_grefcoco, True)]
)
def test_referring_files_give_what_the_generator_gives(
    pipeline: Pipeline, tmp_path: Path, name: str, write: Callable[..., None], plurals: bool
) -> None:
    written_scenes(tmp_path, write)

    def kept(row: Row) -> bool:
        return row["measure"] == "expressions" and (plurals or row["kind"] != "plural")

    read = rows_of(pipeline, open_data_set(Choice(name, str(tmp_path))))
    expected = rows_of(pipeline, SCENES, kept)
    assert read == expected
    assert make_table(read)["expressions, all"] == make_table(expected)["expressions, all"]
    assert 0.2 < make_table(read)["expressions, all"]["ciou"] < 0.9


def test_coco_files_give_what_the_generator_gives(pipeline: Pipeline, tmp_path: Path) -> None:
    write_coco(tmp_path, [SCENES.scene(key)[0] for key in SCENES.keys])
    expected = make_table(rows_of(pipeline, ClassScenes(SEEDS)))
    read: dict[str, dict[str, float]] = {}
    for name in ("coco-panoptic", "coco-instances"):
        read |= make_table(rows_of(pipeline, open_data_set(Choice(name, str(tmp_path)))))
    assert read == expected
    assert 0 < read["panoptic, all"]["pq"] < 1 and 0 < read["semantic, all"]["miou"] < 1
    assert 0 < read["instances, all"]["ap"] < 1


def test_clips_give_what_the_generator_gives(pipeline: Pipeline, tmp_path: Path) -> None:
    clips = [CLIPS.clip(key) for key in CLIPS.keys]
    write_ref_davis(tmp_path, [clip for clip, _ in clips], [said for _, said in clips])
    read = rows_of(pipeline, open_data_set(Choice("ref-davis", str(tmp_path))))
    assert read == rows_of(pipeline, CLIPS)
    assert 0.1 < make_table(read)["clips, all"]["j_and_f"] < 0.95


@pytest.mark.parametrize("name", [name for name in DATA_SETS if not name.startswith("shapes")])
def test_a_missing_folder_or_file_is_told(tmp_path: Path, name: str) -> None:
    for folder in (None, str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match="laid out as"):
            open_data_set(Choice(name, folder))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"expected .*; found notes\.txt"):
        open_data_set(Choice(name, str(tmp_path)))


def test_photographs_for_backgrounds(tmp_path: Path) -> None:
    """Whatever holds an image, by name; the rest is told, and what macOS writes beside files is none."""
    with pytest.raises(InputError, match=r"nowhere: no such folder; expected a folder of photographs"):
        open_data_set(Choice("shapes", str(tmp_path / "nowhere")))
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7")
    with pytest.raises(InputError, match=r"expected photographs, found none \(is no image: \._a\.jpg \(hidden\)\)"):
        open_data_set(Choice("shapes", str(tmp_path)))
    for name in ("a.jpg", "b.webp"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    with pytest.warns(Notice, match=r"is no image: \._a\.jpg \(hidden\)"):
        data = open_data_set(Choice("shapes", str(tmp_path), items=2))
    assert all(data.sample(key).asks for key in data.keys)


def test_a_split_that_is_not_there_is_told(tmp_path: Path) -> None:
    written_scenes(tmp_path, write_refcoco)
    with pytest.raises(InputError, match="nothing of the split 'testA'; it holds val"):
        open_data_set(Choice("refcoco", str(tmp_path), "testA"))


def test_the_first_samples_can_be_taken(tmp_path: Path) -> None:
    written_scenes(tmp_path, write_refcoco)
    whole = open_data_set(Choice("refcoco", str(tmp_path)))
    part = open_data_set(Choice("refcoco", str(tmp_path), items=2))
    assert list(part.keys) == list(whole.keys)[:2]
    assert len(part.sample(part.keys[0]).asks) == len(whole.sample(part.keys[0]).asks)


def test_a_source_is_told_by_name_folder_and_split() -> None:
    usual = source_of(Choice("refcoco", "refer"))
    assert usual == source_of(Choice("refcoco", "refer", "val", items=2))
    others = Choice("refcoco", "refer", "testA"), Choice("refcoco", "other"), Choice("refcoco+", "refer")
    assert usual not in map(source_of, others)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_authors_report_on_can_be_read(family: str) -> None:
    assert set(FAMILIES[family].data_sets) <= DATA_SETS.keys()


def test_pictures_are_read_when_they_are_needed(tmp_path: Path) -> None:
    """Opening a data set reads annotations, a sample its own picture."""
    written_scenes(tmp_path, write_refcoco)
    data = open_data_set(Choice("refcoco", str(tmp_path)))
    pictures = sorted((tmp_path / "images" / "train2014").iterdir())
    for path in pictures[1:]:
        path.unlink()
    assert data.sample(data.keys[0]).frames == (pictures[0],)
    with pytest.raises(InputError, match="the image is missing"):
        data.sample(data.keys[1])
