"""Every array of the original code, for the torch modules and for the exported graphs in ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.families.psalm.golden_cases import CASES, is_input
from hyperseg_export.families.psalm.golden_results import StoredLogits
from hyperseg_export.parity.golden import GoldenFolder, GoldenReport
from hyperseg_export.parity.tolerances import UNDECIDED
from hyperseg_runtime.images.preprocessing import ImageGeometry
from support import golden_engines, golden_report

GOLDEN = Path(__file__).parents[3] / "golden" / "psalm"
EXACT = (
    "masks_packed", "best_mask", "best_query", "panoptic_seg", "segments_id", "segments_isthing",
    "segments_category_id", "classes", "fused_masks", "attn_mask0", "llm_attention_mask", "grefcoco_union_thr0.60",
    "region_masks",
)  # fmt: skip


@pytest.fixture(scope="module", params=golden_engines())
def report(shared_dir: Path, request: pytest.FixtureRequest) -> GoldenReport:
    return golden_report(shared_dir, "psalm", request.param)


def test_everything_agrees(report: GoldenReport) -> None:
    assert report.failures == []


def test_nothing_is_left_out(report: GoldenReport) -> None:
    """Every stored result is compared, except one with a stated reason."""
    folder = GoldenFolder.open(GOLDEN)
    assert folder.cases() == sorted(CASES)
    for case in CASES:
        compared = {row.array for row in report.compared if row.case == case}
        excused = {row.array for row in report.not_compared if row.case == case}
        inputs = {name for name in folder.arrays(case) if is_input(name)}
        assert compared | excused | inputs == set(folder.arrays(case)), case
    assert {(row.case, row.array) for row in report.not_compared} == {("panoptic", "proj_conv1")}


def test_masks_maps_and_segments_have_no_tolerance(report: GoldenReport) -> None:
    exact = [row for row in report.compared if row.array.endswith(EXACT)]
    assert len(exact) > 50
    assert {row.worst_error for row in exact} == {row.tolerance for row in exact} == {0.0}


def test_the_projector_is_seen_stage_by_stage(report: GoldenReport) -> None:
    stages = {"proj_bn1", "proj_conv2_call0", "proj_conv2_call1", "proj_bn2", "proj_downsample", "proj_block"}
    assert stages <= {row.array for row in report.compared if row.case == "panoptic" and row.worst_error < 1e-5}


def test_only_pixels_at_zero_are_undecided() -> None:
    logits = np.array([[[0.0, UNDECIDED / 2, 2 * UNDECIDED, 1.0]]], np.float32)
    stored = StoredLogits(logits, ImageGeometry((1, 4), (1, 4), (1, 4)))
    found, expected = np.zeros((1, 1, 4), bool), np.ones((1, 1, 4), bool)
    assert stored.settled([0], found, expected).tolist() == [[[True, True, False, False]]]
    assert stored.settled_union([0], found[0], expected[0]).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("case", ["panoptic", "panoptic_coco", "instance", "referring", "regions"])
def test_few_pixels_are_undecided(case: str) -> None:
    with np.load(GOLDEN / f"{case}.npz") as arrays:
        logits = arrays["pred_masks"][0]
        stored = StoredLogits(logits, ImageGeometry((160, 160), (160, 160), (160, 160)))
    every = np.zeros((len(logits), 160, 160), bool)
    assert stored.settled(range(len(logits)), every, ~every).mean() < 2e-4
