"""Arrays of the original code, for the torch modules and for the exported graphs in ONNX Runtime."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from hipie_support import GOLDEN
from hyperseg_export.families.hipie.golden import verify_golden
from hyperseg_export.families.hipie.golden_cases import CASES
from hyperseg_export.families.hipie.golden_results import SETTINGS
from hyperseg_export.jobs.progress import Silent
from hyperseg_export.parity.golden import MODULES, GoldenFolder, GoldenReport
from hyperseg_runtime.errors import InputError
from support import golden_engines, golden_report


@pytest.fixture(scope="module", params=golden_engines())
def report(shared_dir: Path, request: pytest.FixtureRequest) -> GoldenReport:
    return golden_report(shared_dir, "hipie", request.param)


def test_everything_agrees(report: GoldenReport) -> None:
    assert report.failures == []


def test_every_case_is_compared(report: GoldenReport) -> None:
    compared = {case: {row.array for row in report.compared if row.case == case} for case in CASES}
    assert all(compared.values())
    networks = {"pred_logits", "pred_boxes", "pred_boxious", "pred_masks", "pred_logits_maskdino"}
    maps = {"final_panoptic0", "final_segments0"}
    boxes = {"class_logits_fg0", "nms_keep0", "final_scores0", "final_classes0", "final_boxes0"}
    for case in CASES:
        expected = {"detection": networks | boxes | maps, "grounding": networks | boxes}.get(case.split("_")[0], set())
        assert (boxes | maps if case in SETTINGS else expected) <= compared[case], case
    inner = {"res2", "fused_visual", "enc_layer5", "two_stage_score", "dec_refs", "md_states", "md_mask_features"}
    assert inner | {"md_refs", "md_masks", "vl_delta_l", "bert_layer2", "mask_feats"} <= compared["detection"]
    assert {"pano_class_prob0", "final_sem_seg0", "final_masks0_packed"} <= compared["detection"]
    assert {"level_mask2", "valid_ratios", "enc_pad", "final_masks1_packed"} <= compared["detection_batch2"]
    assert {"native_block11", "other_block2", "other_res5"} <= compared["vit"]
    assert {"long_2048_hidden", "long_1024_chunk_ids", "short_24_hidden"} <= compared["text_long"]
    maps_of_parts = {"parts_seg", "parts_remapped", "output_refined_packed", "output_coarse_packed"}
    referred = {"ref_mask_packed", "ref_part_fine_packed", "ref_part_coarse_packed"}
    assert maps_of_parts | referred | {"pan_masks_packed", "pan_map", "rule_named_packed"} <= compared["parts"]
    kinds = ("size", "normalised_corner", "resized_sub16", "sum")
    sizes = ("landscape", "portrait", "square", "wide")
    assert {f"{size}_{kind}" for size in sizes for kind in kinds} <= compared["preprocess"]


def test_what_is_left_out_is_named_with_its_reason(tmp_path: Path) -> None:
    for name in ("manifest.json", "weights.safetensors", "vit_weights.safetensors"):
        (tmp_path / name).symlink_to(GOLDEN / name)
    np.savez(tmp_path / "text_parallel_det.npz", ids=np.zeros((1, 4), np.int64), hidden=np.zeros((1, 4, 8), np.float32))
    report = verify_golden(GoldenFolder.open(tmp_path), Silent(), engines=(MODULES,))
    assert {(row.case, row.array) for row in report.not_compared} == {
        ("text_parallel_det", "ids"),
        ("text_parallel_det", "hidden"),
    }
    assert all("PARALLEL_DET" in row.reason for row in report.not_compared) and not report.compared


def test_a_wrong_weight_is_found(tmp_path: Path) -> None:
    """One running variance off by a tenth: folded into a convolution, and still seen."""
    for name in ("manifest.json", "detection.npz"):
        shutil.copy(GOLDEN / name, tmp_path)
    weights = load_file(GOLDEN / "weights.safetensors")
    weights["detr.detr.backbone.0.backbone.res4.2.conv2.norm.running_var"][3] *= 1.1
    save_file(weights, tmp_path / "weights.safetensors")
    report = verify_golden(GoldenFolder.open(tmp_path), Silent(), engines=(MODULES,))
    failed = {row.array for row in report.failures}
    assert {"res4", "res5", "pred_logits"} <= failed
    assert not failed & {"res3", "text_hidden"}


def test_a_folder_without_its_settings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "weights.safetensors").symlink_to(GOLDEN / "weights.safetensors")
    with pytest.raises(InputError, match=r"lacks tiny\.bert_heads"):
        verify_golden(GoldenFolder.open(tmp_path), Silent())
