"""The verb: table, page and items of a real bundle, on stdout what was asked for."""

import json
from pathlib import Path

import pytest
from PIL import Image

from hyperseg_runtime.files.locking import sole_writer
from support import RunCli

SHAPES = ("shapes", "--items", "2", "--threads", "1")


@pytest.fixture
def evaluated(run_cli: RunCli, tiny_bundle: Path, tmp_path: Path) -> Path:
    result = run_cli("eval", tiny_bundle, *SHAPES, "--out", tmp_path / "first")
    assert result.code == 0, result.err
    assert "expressions, all" in result.out and str(tmp_path / "first" / "table.json") in result.out
    return tmp_path / "first"


def test_two_bundles_are_compared(run_cli: RunCli, evaluated: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    again = ("eval", tiny_bundle, *SHAPES, "--out", tmp_path / "second", "--against", evaluated, "--json")
    result = run_cli(*again)
    assert result.code == 0, result.err
    content = json.loads(result.out)
    assert content["comparison"]["expressions, all"]["changed"] == 0
    assert content["table"] == json.loads((evaluated / "table.json").read_bytes())["table"]
    for path in content["files"].values():
        assert Path(path).is_file()
    assert len((evaluated / "items.jsonl").read_text().splitlines()) == 2


def test_evaluations_of_other_pictures_are_not_compared(
    run_cli: RunCli, evaluated: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The same scenes with backgrounds: names and questions are equal."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (64, 48)).save(photos / "grey.png")
    again = ("eval", tiny_bundle, *SHAPES, "--data", photos, "--out", tmp_path / "second", "--against", evaluated)
    result = run_cli(*again)
    assert result.code == 2 and f"(folder None, expected {photos})" in result.err, result.err
    assert not (tmp_path / "second" / "comparison.json").exists()


def test_mistakes_say_what_to_do(run_cli: RunCli, evaluated: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    for arguments, code, words in [
        (("nothing",), 2, "unknown data set 'nothing'; choose shapes"),
        (("shapes", "--split", "val"), 2, "shapes has no split 'val'"),
        (("shapes", "--data", str(tmp_path / "empty")), 2, "no such folder; expected a folder of photographs"),
        ((*SHAPES, "--workers", "4"), 2, "--workers is a setting of Ray; add --ray"),
        ((*SHAPES, "--precision", "bf16"), 6, "asked for bf16, its graphs are fp32"),
        ((*SHAPES, "--against", str(tmp_path)), 2, "is no evaluation's folder"),
        (("shapes", "--items", "3", "--out", str(evaluated)), 2, "holds another evaluation"),
    ]:
        place = () if "--out" in arguments else ("--out", tmp_path / "other")
        result = run_cli("eval", tiny_bundle, *arguments, *place)
        assert result.code == code and words in result.err, result.err


def test_two_evaluations_of_one_folder(run_cli: RunCli, tiny_bundle: Path, tmp_path: Path) -> None:
    """The second is told, and nothing of the first is touched."""
    with sole_writer(tmp_path):
        result = run_cli("eval", tiny_bundle, *SHAPES, "--out", tmp_path)
    assert result.code == 2 and "another process is writing it" in result.err
    assert not list(tmp_path.iterdir())
