"""Two evaluations item by item: which asks changed, by how much, and in which pixels."""

from typing import cast

import pytest

from hyperseg_bench.quality.answering import answered
from hyperseg_bench.quality.comparison import by_change, pair_up, summary
from hyperseg_bench.quality.datasets.shapes.asked import Clips, Scenes
from hyperseg_bench.quality.paired import NORMAL_95, paired_drops
from hyperseg_bench.quality.report import render_comparison, render_evaluation
from hyperseg_bench.quality.samples import DataSet, Row, in_order
from hyperseg_bench.quality.table import left_out, make_table
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.session.pipeline import Pipeline
from knowing_pipeline import Knowing

SEEDS = range(2)
SCENES = Scenes(SEEDS)


def rows_of(data: DataSet, **knowing: bool) -> dict[str, list[Row]]:
    pipeline = cast(Pipeline, Knowing(SEEDS, **knowing))
    return {key: answered(pipeline, data.sample(key)) for key in data.keys}


@pytest.fixture(scope="module")
def right() -> dict[str, list[Row]]:
    return rows_of(SCENES)


@pytest.fixture(scope="module")
def half() -> dict[str, list[Row]]:
    return rows_of(SCENES, shrink=True)


def test_equal_evaluations_have_no_change(right: dict[str, list[Row]]) -> None:
    pairs = pair_up(SCENES.keys, right, right)
    assert by_change(pairs) == []
    assert {(row["changed"], row["mean_change"]) for row in summary(pairs).values()} == {(0, 0)}


def test_what_changed_is_found_item_by_item(right: dict[str, list[Row]], half: dict[str, list[Row]]) -> None:
    pairs = pair_up(SCENES.keys, right, half)
    changed = by_change(pairs)
    expected = {
        (key, row["ask"])
        for key, row in in_order(SCENES.keys, half)
        if row["measure"] == "expressions" and row["iou"] < 1
    }
    assert {(pair.sample, pair.after["ask"]) for pair in changed} == expected
    assert [pair.change for pair in changed] == sorted(pair.change for pair in changed)
    told = changed[0].told()
    assert told["before"] == 1 and told["after"] == 1 + told["change"] < 1
    after = changed[0].after
    assert told["pixels_changed"] == after["union_px"] - after["intersection_px"]  # the half that is hidden
    numbers = summary(pairs)["expressions, all"]
    assert numbers["worse"] == numbers["changed"] == len(expected) and numbers["better"] == 0
    assert numbers["mean_change"] < -2 * numbers["standard_error"] < 0
    assert summary(pairs)["questions, all"]["changed"] == 0


def test_items_of_one_sample_count_as_one(right: dict[str, list[Row]], half: dict[str, list[Row]]) -> None:
    """Ten copies of each item say no more than one of each; the error is the one that the gate goes by."""
    pairs = pair_up(SCENES.keys, right, half)
    error = summary(pairs)["expressions, all"]["standard_error"]
    assert summary(pairs * 10)["expressions, all"]["standard_error"] == pytest.approx(error)
    drop = paired_drops(pairs)[0]
    assert (drop.interval[1] - drop.drop) / NORMAL_95 == pytest.approx(100 * error)


def test_frames_of_clips_are_compared() -> None:
    data = Clips(SEEDS)
    pairs = by_change(pair_up(data.keys, rows_of(data), rows_of(data, shrink=True)))
    assert pairs and all(pair.told()["pixels_changed"] > 0 for pair in pairs)


def test_other_questions_are_not_compared(right: dict[str, list[Row]]) -> None:
    other = {key: [{**row, "asked": "something else"} for row in rows] for key, rows in right.items()}
    with pytest.raises(InputError, match="not asked the same: see scene-000000 expression-0"):
        pair_up(SCENES.keys, right, other)
    with pytest.raises(InputError, match="not asked the same"):
        pair_up(SCENES.keys, right, {SCENES.keys[0]: right[SCENES.keys[0]]})


def test_the_pages_show_the_worst_items_and_need_nothing_from_outside(
    right: dict[str, list[Row]], half: dict[str, list[Row]]
) -> None:
    contents = [
        {
            "family": "<b>", "bundle": "0" * 64, "precision": "fp32", "backend": "onnxruntime",
            "data_set": {"name": "shapes", "folder": None}, "samples": len(SEEDS),
            "table": make_table(row for _, row in in_order(SCENES.keys, rows)),
            "left_out": left_out([{"measure": "clips", "left_out": "no <i>"}]),
        }
        for rows in (right, half)
    ]  # fmt: skip
    single = render_evaluation(contents[1], half, SCENES).decode()
    worst = min((row for _, row in in_order(SCENES.keys, half) if "iou" in row), key=lambda row: row["iou"])
    assert single.index(worst["asked"]) < single.index("</figure>")
    assert single.count("<figure>") == 12 and "no &lt;i&gt;" in single
    both = render_comparison(contents[0], contents[1], pair_up(SCENES.keys, right, half), SCENES).decode()
    assert f"{len(by_change(pair_up(SCENES.keys, right, half)))} of " in both
    for page in (single, both):
        assert "http" not in page and "<script" not in page and "<b>" not in page
