"""Every array of the original code, for the torch modules and for the exported graphs in ONNX Runtime."""

import json
from pathlib import Path

import pytest

from hyperseg_export.parity.golden import MODULES, ONNX, GoldenFolder, GoldenReport
from support import RunCli, golden_engines, golden_report

REQUIRED = (
    "preprocess", "siglip_layers", "swin_odd", "predictor_heads", "res_image", "reasonseg_image", "res_batch2", "vqa",
    "video", "class_names", "regions",
)  # fmt: skip
EXACT = ("final_masks0_packed", "best_mask0", "generated", "attn_mask", "llm_attention_mask", "valid_hw")


@pytest.fixture(scope="module", params=golden_engines())
def report(shared_dir: Path, request: pytest.FixtureRequest) -> GoldenReport:
    return golden_report(shared_dir, "hyperseg", request.param)


def test_everything_agrees(report: GoldenReport) -> None:
    assert report.failures == []


def test_nothing_is_left_out(report: GoldenReport, golden_dir: Path) -> None:
    """Every stored result is compared, except those with a stated reason."""
    folder = GoldenFolder.open(golden_dir)
    for case in REQUIRED:
        compared = {row.array for row in report.compared if row.case == case}
        excused = {row.array for row in report.not_compared if row.case == case}
        inputs = {name for name in folder.arrays(case) if is_input(name)}
        assert compared | excused | inputs == set(folder.arrays(case)), case
    assert all("nothing here" not in row.reason for row in report.not_compared)
    lists = {(row.case, row.array) for row in report.compared}
    assert {("class_names", "pred_class_name_logits"), ("regions", "pred_region_logits0")} <= lists
    heads = {row.array for row in report.compared if row.case == "predictor_heads"}
    assert {"pred_boxes", "pred_boxious", "reid_embed_of_hs", "pred_region_logits1", "aux_pred_masks"} <= heads


def test_masks_ids_and_attention_bits_have_no_tolerance(report: GoldenReport) -> None:
    exact = [row for row in report.compared if any(name in row.array for name in EXACT)]
    assert len(exact) > 25
    assert {row.worst_error for row in exact} == {0.0}
    assert {row.tolerance for row in exact} == {0.0}


def test_our_lora_merge_is_pefts(report: GoldenReport) -> None:
    assert len([row for row in report.compared if row.case == "lora" and row.passed]) == 4


def test_a_wrong_weight_is_found(golden_dir: Path, tmp_path: Path, run_cli: RunCli) -> None:
    """One bias off by one hundredth fails the comparison, in the report and in the exit code."""
    from safetensors.torch import load_file, save_file

    for name in ("manifest.json", "siglip_layers.npz"):
        (tmp_path / name).write_bytes((golden_dir / name).read_bytes())
    weights = load_file(golden_dir / "weights.safetensors")
    weights["model.vision_tower.vision_model.encoder.layers.0.mlp.fc2.bias"][0] += 0.01
    save_file(weights, tmp_path / "weights.safetensors")
    result = run_cli("verify", "--golden", tmp_path, "--json")
    assert result.code == 5
    content = json.loads(result.out)
    assert not content["passed"]
    failed = {(row["engine"], row["array"]) for row in content["compared"] if not row["passed"]}
    assert {(MODULES, "hidden1"), (ONNX, "hidden1")} <= failed
    assert (MODULES, "hidden0") not in failed


def is_input(name: str) -> bool:
    """Stored beside the results: what they were computed from, and shapes of packed arrays."""
    bare = name.split("_", 1)[1] if name[0] == "f" and name[1].isdigit() else name
    return bare.startswith("in_") or bare.endswith(("_uint8", "final_masks0_shape", "region_tokens"))
