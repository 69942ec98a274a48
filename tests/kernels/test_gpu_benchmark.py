"""The GPU benchmarks where there is no GPU: they say so, and what they compare is the same."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyperseg_kernels.cuda import nvrtc
from hyperseg_kernels.cuda.source import ValueType
from hyperseg_kernels.deformable_attention import cuda_source

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
OPERATORS = ("deformable_attention", "mask_readout", "pillow_resize")


@pytest.mark.parametrize("script", [f"bench_{name}_gpu.py" for name in OPERATORS])
def test_without_a_gpu_it_says_not_measured(script: str) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, BENCHMARKS / "kernels" / script]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert finished.stdout.startswith("not measured: no GPU")


@pytest.mark.parametrize("script", [f"bench_{name}_gpu" for name in OPERATORS])
def test_what_is_measured_is_shown_and_written(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a GPU that is only said to be there, and rows that nobody measured."""
    bench, shared = import_module(script), import_module("measure_gpu")
    written: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(sys, "argv", [script, "--rounds", "3"])
    monkeypatch.setattr(shared, "what_is_missing", lambda: "")
    monkeypatch.setattr(shared, "copy_bandwidth", lambda: 4e12)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(shared.measure, "write_results", written.__setitem__)
    monkeypatch.setattr(bench, "rows_of", lambda *given: {"rows": [{"given": given}]})
    bench.main()
    (content,) = written.values()
    stored = shared.measure.stored(f"h200/{script.removeprefix('bench_')}")
    assert list(written) == [script.removeprefix("bench_")] and content["environment"]["gpu"] == "a GPU"
    assert content["conditions"] == {**stored["conditions"], "rounds": 3}
    assert content["copy_bytes_per_s"] == 4e12 and content["rows"] == [{"given": (3, 4e12)}]
    assert "{'given': (3, 4000000000000.0)}" in capsys.readouterr().out


@pytest.mark.parametrize("value_type", list(ValueType))
def test_the_baseline_compiles(value_type: ValueType, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = import_module("bench_deformable_attention_gpu")
    source = bench.BASELINE.format(value=value_type.cpp)
    assert "baseline" in nvrtc.compile_cubin(source, cuda_source.headers(), "sm_90").resources


def test_samples_and_projections_of_the_benchmark_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on the CPU: both forms of one random layer give one result."""
    from hyperseg_kernels.deformable_attention import reference

    bench = import_module("bench_deformable_attention_gpu")
    monkeypatch.setattr(bench, "LAYER", cuda_source.Layer(2, 16, 4, ((4, 5), (8, 9))))
    layer = bench.random_layer(torch.float64, seed=0, device="cpu")
    given = reference.deformable_attention(
        layer["value"], layer["locations"], layer["weights"], bench.LAYER.level_shapes
    )
    inputs = (layer[name].double() for name in ("value", "references", "offsets", "logits"))
    projected = reference.projected_attention(*inputs, bench.LAYER.level_shapes)
    torch.testing.assert_close(given.double(), projected, rtol=0, atol=1e-5)


def test_both_ways_to_the_best_mask_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on the CPU, on a few queries."""
    from hyperseg_kernels.mask_readout.axis import axis

    bench = import_module("bench_mask_readout_gpu")
    logits = torch.from_numpy(bench.blobs()[:4])
    scores = torch.tensor([0.0, 1.0, 3.0, -1.0])
    image_hw, valid_hw = (60, 90), (683, 1024)
    rows, columns = (axis(bench.SIDE, bench.PADDED, *sizes) for sizes in zip(valid_hw, image_hw, strict=True))
    tables = {name: torch.from_numpy(table) for name, table in bench.table_inputs(rows, columns).items()}
    products, mask = bench.with_kernel(logits, scores, tables)
    expected_products, expected_mask = bench.at_full_size(logits, scores, valid_hw, image_hw)
    torch.testing.assert_close(products, expected_products, rtol=0, atol=1e-6)
    assert torch.equal(mask, expected_mask) and mask.any()


def test_the_prepared_image_is_the_hosts() -> None:
    """Run on the CPU: not one number differs."""
    bench = import_module("bench_pillow_resize_gpu")
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    for made, expected in zip(bench.on_device(image, "cpu")(), bench.on_host(image), strict=True):
        assert np.array_equal(made.numpy(), expected)
