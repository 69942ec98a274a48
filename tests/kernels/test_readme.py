"""The tables of kernels/README.md are those of the stored results."""

import json
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("subject", ["deformable_attention", "mask_readout"])
def test_the_tables_show_the_stored_results(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = import_module(f"bench_{subject}")
    content = json.loads((ROOT / "benchmarks" / "results" / f"{subject}.json").read_text())
    assert bench.markdown(content) in (ROOT / "kernels" / "README.md").read_text()


def test_what_is_said_of_a_gpu_is_what_it_measured() -> None:
    folder, text = ROOT / "benchmarks" / "results" / "h200", (ROOT / "kernels" / "README.md").read_text()
    attention, masks, images, graphs, memory = (
        json.loads((folder / f"{name}.json").read_text())
        for name in (
            "deformable_attention_gpu",
            "mask_readout_gpu",
            "pillow_resize_gpu",
            "onnxruntime_cuda",
            "device_memory_gpu",
        )
    )
    before = json.loads((folder / "before" / "deformable_attention_gpu.json").read_text())["types"]
    for row, old in zip(attention["types"], before, strict=True):
        ours, theirs = row["six_layers_ms"]["given"], row["six_layers_ms"]["baseline"]
        assert f"| {old['six_layers_ms']['given']:.3f} | {ours:.3f} | common scheme | {theirs:.3f} |" in text
    for row in masks["images"]:
        assert (
            f"| {row['ms']['kernel']:.3f} | torch, every mask at full size | {row['ms']['torch']:.3f} | 0 pixels"
            in text
        )
        assert row["differing_px"] == 0 and row["same_bits_twice"]
    for row in images["images"]:
        assert f"| {row['ms']:.3f} | Pillow on the host | {row['host_ms']:.1f} | 0 numbers differ" in text
        assert row["differing_numbers"] == 0
    assert all(row["passed"] for bundle in graphs["bundles"] for row in bundle["graphs"])
    assert [bundle["requests"]["pixels_that_differ"] for bundle in graphs["bundles"]] == [123, 0]
    assert all(row["right"] for row in memory["checks"]) and len(memory["checks"]) == 8
    for content in (attention, masks, images, memory):
        assert content["environment"]["gpu"] == "NVIDIA H200"
