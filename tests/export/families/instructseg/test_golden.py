"""Every array of the original code, for the torch modules and for the exported graphs in ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.families.instructseg.golden import GIVEN, LEARNED_LATENTS, MARGIN
from hyperseg_export.families.mask_queries.golden_cases import geometry_of, open_pixels
from hyperseg_export.parity.golden import GoldenFolder, GoldenReport
from support import golden_engines, golden_report

GOLDEN = Path(__file__).parents[3] / "golden" / "instructseg"
CASES = {
    "siglip_layers", "resamplers", "res_image", "reasonseg_image", "res_batch2", "rvos_video", "video_final", "vqa",
}  # fmt: skip
EXACT = ("final_masks0_packed", "best_mask0", "merged", "_masks", "generated", "attn_mask", "llm_attention_mask")
MOST_OPEN = 1e-4
"""Of the pixels of all masks: those whose stored logit decides nothing."""


@pytest.fixture(scope="module", params=golden_engines())
def report(shared_dir: Path, request: pytest.FixtureRequest) -> GoldenReport:
    return golden_report(shared_dir, "instructseg", request.param)


def test_everything_agrees(report: GoldenReport) -> None:
    assert report.failures == []
    assert {row.case for row in report.compared} == CASES


def test_nothing_is_left_out(report: GoldenReport) -> None:
    assert {row.reason for row in report.not_compared} == {GIVEN, LEARNED_LATENTS, MARGIN}
    compared = {(row.case, row.array) for row in report.compared}
    assert {("rvos_video", f"f{key}_merged") for key in range(7)} <= compared
    assert {("video_final", "davis_hard_merged"), ("resamplers", "vmtf_layer2_out"), ("vqa", "generated")} <= compared


def test_masks_labels_ids_and_attention_bits_have_no_tolerance(report: GoldenReport) -> None:
    exact = [row for row in report.compared if any(name in row.array for name in EXACT) and "pred" not in row.array]
    exact = [row for row in exact if "soft" not in row.array]
    assert len(exact) > 50
    assert {row.worst_error for row in exact} == {row.tolerance for row in exact} == {0.0}


def test_few_pixels_are_left_open() -> None:
    """Those that are held to nothing because rounding decides about them; the two that really differ are among them."""
    arrays = GoldenFolder.open(GOLDEN).arrays("rvos_video")
    count = 0
    for key in range(7):
        for text in range(2):
            prefix = f"f{key}_o{text}_"
            own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            own["in_images"] = arrays["in_images"]
            pixels = open_pixels(own, geometry_of(own))
            assert pixels.mean() < MOST_OPEN
            count += int(pixels.sum())
    assert 2 <= count < 60


def test_a_fusion_without_its_dead_rows_is_the_whole_one(report: GoldenReport) -> None:
    """instructseg-spec 3: once with all rows, once with the first alone."""
    pooled = [row for row in report.compared if (row.case, row.array) == ("resamplers", "vmtf_out")]
    assert len(pooled) == 2 and all(row.passed for row in pooled)
    with np.load(GOLDEN / "resamplers.npz") as stored:
        assert stored["vmtf_latents_in"].shape[2] > 1
