"""Parts as users ask for them: by the verb, and by the Python API."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.contracts.results import decode_rle
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.reports.colours import colour_of
from hyperseg_runtime.session.pipeline import Pipeline
from support import RunCli, family_bundle

pytestmark = pytest.mark.slow  # its bundle takes a minute to make


@pytest.fixture(scope="module")
def bundle(shared_dir: Path) -> Path:
    return family_bundle(shared_dir, "hipie")


def test_a_part_of_what_an_expression_refers_to(run_cli: RunCli, bundle: Path, coffee: Path, tmp_path: Path) -> None:
    text = "the cup on the left: wheel"
    result = run_cli("run", bundle, coffee, text, "--task", "referring parts", "--out", tmp_path, "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["asked"] == [text] and told["task"] == "referring parts"
    with Pipeline.load(bundle, threads=1) as pipeline, pipeline.open(coffee) as session:
        expected = session.segment(text, "referring parts")
    (row,) = told["instances"]
    assert np.array_equal(decode_rle(row["segmentation"]), expected.mask)
    assert {"object", "part_names", "query"} <= row["details"].keys()
    mask = np.asarray(Image.open(tmp_path / "coffee.jpg.mask.png")) > 0
    assert np.array_equal(mask, expected.mask)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the cup", "'the cup' does not name an object and its part; write both, such as 'the dog on the left: head'"),
        ("the cup: ", "'the cup: ' does not name an object and its part"),
        ("the cup: lid", "no part is called 'lid'; the model knows aeroplane, "),
    ],
)
def test_a_text_that_names_no_part_is_refused(
    run_cli: RunCli, bundle: Path, coffee: Path, tmp_path: Path, text: str, message: str
) -> None:
    result = run_cli("run", bundle, coffee, text, "--task", "referring parts", "--out", tmp_path)
    assert result.code == 2 and message in " ".join(result.err.split())
    assert not list(tmp_path.iterdir())


def test_the_overlay_names_the_parts_of_objects(
    run_cli: RunCli, bundle: Path, coffee: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one class too, whose best mask alone is drawn in other tasks; the verb prints a line for each part."""
    names = (("cup", "handle"), ("cup", "rim"), ("dog", "head"))
    monkeypatch.setattr("hyperseg_runtime.families.hipie.hierarchy.PART_NAMES", names)
    result = run_cli("run", bundle, coffee, "--classes", "cup", "--task", "parts", "--out", tmp_path)
    assert result.code == 0, result.err
    told = json.loads((tmp_path / "coffee.jpg.result.json").read_text())
    parts = [part for row in told["instances"] for part in row["details"]["parts"]]
    assert parts and {part["name"] for part in parts} <= {"handle", "rim"}
    assert all(f"{part['name']}: {part['area_px']} px" in result.out for part in parts)
    drawn = load_image(tmp_path / "coffee.jpg.overlay.png")
    fields = {part["name"]: int((drawn == colour_of(part["name"])).all(-1).sum()) for part in parts}
    assert min(fields.values()) > 100, "the field behind a name, in the name's colour"


def test_a_scene_in_parts_has_a_category_for_each(run_cli: RunCli, bundle: Path, coffee: Path, tmp_path: Path) -> None:
    arguments = ("--task", "panoptic parts", "--also", "coco", "--out", tmp_path, "--json")
    result = run_cli("run", bundle, coffee, "--classes", "coco", *arguments)
    assert result.code == 0, result.err
    told = json.loads(result.out)
    coco = json.loads((tmp_path / "coffee.jpg.coco.json").read_text())
    names = {row["id"]: row["name"] for row in coco["categories"]}
    (scene,) = coco["annotations"]
    assert [names[row["category_id"]] for row in scene["segments_info"]] == [
        row["label"] for row in told["segments_info"]
    ]
