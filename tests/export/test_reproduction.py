"""The day real weights are at hand, rehearsed: made weights in the published layout, made data in published layouts."""

import json
from pathlib import Path

import pytest

import miniatures
from hyperseg_bench.quality.datasets.registry import DATA_SETS
from hyperseg_export.make_tiny import make_tiny
from hyperseg_export.reproduction import REFER, RESULT, SHARED_FOLDERS
from hyperseg_runtime.families import FAMILIES
from support import FIRST_FAMILY, RunCli


@pytest.mark.parametrize("family", FAMILIES)
def test_printed_numbers_speak_of_what_eval_knows(family: str) -> None:
    spec = FAMILIES[family]
    assert spec.printed and spec.printed_note
    for number in spec.printed:
        assert number.data_set in spec.data_sets and number.split in DATA_SETS[number.data_set].splits
        assert number.row.count(", ") == 1 and 0 < number.value < 1
    assert len({(n.data_set, n.split, n.row, n.metric) for n in spec.printed}) == len(spec.printed)


def test_one_command_goes_from_checkpoint_to_numbers(
    run_cli: RunCli, tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    miniatures.refcoco(data / REFER)
    miniatures.reasonseg(data / "reasonseg")
    out.mkdir()
    (out / "bundle").symlink_to(tiny_bundle)  # exported before: the test is not about that
    arguments = ("reproduce", tiny_checkpoint, data, "--out", out, "--threads", "1")
    result = run_cli(*arguments, "--json")
    assert result.code == 0, result.err
    rows = {(n["data_set"], n["split"], n["row"], n["metric"]): n for n in json.loads(result.out)["numbers"]}
    assert len(rows) == len(FAMILIES[FIRST_FAMILY].printed)
    measured = rows["refcoco", "val", "expressions, all", "ciou"]
    table = json.loads((out / "refcoco-val" / "table.json").read_bytes())["table"]
    assert measured["measured"] == table["expressions, all"]["ciou"] and measured["value"] > 0.8
    assert rows["reasonseg", "val", "expressions, all", "miou"]["measured"] is not None
    assert "nothing of the split 'testB'" in rows["refcoco", "testB", "expressions, all", "ciou"]["reason"]
    assert "is not there" in rows["revos", "valid", "clips, referring", "j_and_f"]["reason"]
    assert json.loads((out / RESULT).read_bytes())["numbers"] == list(rows.values())
    shown = run_cli(*arguments, "--data-set", "reasonseg")
    assert shown.code == 0 and "not measured" in shown.out and "not asked for" in shown.out
    assert run_cli(*arguments, "--data-set", "cityscapes").code == 2


def test_folders_are_those_of_the_data_sets() -> None:
    assert SHARED_FOLDERS.keys() <= DATA_SETS.keys()


@pytest.fixture
def reproduced(tiny_bundle: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A small folder of data, and one for results that holds a bundle already."""
    data, out = tmp_path / "data", tmp_path / "out"
    miniatures.reasonseg(data / "reasonseg")
    out.mkdir()
    (out / "bundle").symlink_to(tiny_bundle)
    return data, out


def test_another_checkpoint_s_bundle_is_not_taken_for_this_one_s(
    run_cli: RunCli, reproduced: tuple[Path, Path], tmp_path: Path
) -> None:
    data, out = reproduced
    make_tiny(tmp_path / "other", FIRST_FAMILY, seed=1)
    result = run_cli("reproduce", tmp_path / "other", data, "--out", out, "--data-set", "reasonseg")
    assert result.code == 2, result.out
    said = " ".join(result.err.split())
    assert "other is not what the bundle was made from" in said and "choose another place with --out" in said
    assert [path.name for path in out.iterdir()] == ["bundle"]


def test_some_samples_first_and_then_all(run_cli: RunCli, tiny_checkpoint: Path, reproduced: tuple[Path, Path]) -> None:
    data, out = reproduced
    asked = ("reproduce", tiny_checkpoint, data, "--out", out, "--threads", "1", "--data-set", "reasonseg")
    for more, folder, samples in [(("--items", "1"), "reasonseg-val-first-1", 1), ((), "reasonseg-val", 2)]:
        result = run_cli(*asked, *more)
        assert result.code == 0, result.err
        assert json.loads((out / folder / "table.json").read_bytes())["samples"] == samples
    (out / "reasonseg-val" / "run.json").write_text("{}")  # of other settings
    refused = run_cli(*asked)
    assert refused.code == 2 and "or begin anew with --overwrite" in " ".join(refused.err.split())
    assert run_cli(*asked, "--overwrite").code == 0
