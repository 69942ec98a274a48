"""The GPU benchmark where there is no GPU: it says so, and its baseline is valid CUDA."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from hyperseg_kernels import nvrtc
from hyperseg_kernels.cuda import ValueType
from hyperseg_kernels.deformable_attention import cuda_source

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_without_a_gpu_it_says_not_measured() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": ""}
    command = [sys.executable, BENCHMARKS / "bench_deformable_attention_gpu.py"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert finished.stdout.startswith("not measured: no GPU")


@pytest.mark.parametrize("value_type", list(ValueType))
def test_the_baseline_compiles(value_type: ValueType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench = import_module("bench_deformable_attention_gpu")
    source = bench.BASELINE.format(value=value_type.cpp)
    assert "baseline" in nvrtc.compile_cubin(source, cuda_source.headers(), "sm_90").resources


def test_samples_and_projections_of_the_benchmark_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on the CPU: both forms of one random layer give one result."""
    from hyperseg_kernels.deformable_attention import reference

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench = import_module("bench_deformable_attention_gpu")
    monkeypatch.setattr(bench, "LAYER", cuda_source.Layer(2, 16, 4, ((4, 5), (8, 9))))
    layer = bench.random_layer(torch.float64, seed=0, device="cpu")
    given = reference.deformable_attention(
        layer["value"], layer["locations"], layer["weights"], bench.LAYER.level_shapes
    )
    inputs = (layer[name].double() for name in ("value", "references", "offsets", "logits"))
    projected = reference.projected_attention(*inputs, bench.LAYER.level_shapes)
    torch.testing.assert_close(given.double(), projected, rtol=0, atol=1e-5)
