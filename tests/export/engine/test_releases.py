"""The worker builds and reads back an engine with every release, each of which speaks its own language."""

from pathlib import Path

import pytest

from engine_graphs import CONVOLUTION, convolution
from hyperseg_export.engine.options import BuildOptions
from hyperseg_export.engine.worker import Job, build
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import AuditError
from support import forget_doubles

RELEASES = ("10.15.1.29", "10.16.0.72", "11.0.0.1", "11.1.0.1", "11.4.0.106")


@pytest.fixture
def job(tensorrt_double: None, tmp_path: Path) -> Job:
    return Job(
        family="hyperseg",
        onnx=convolution(tmp_path / "small.onnx"),
        spec=CONVOLUTION,
        precision=Precision.BF16,
        options=BuildOptions(),
        timing_cache=tmp_path / "timing.cache",
        plan=tmp_path / "small.plan",
        plugins=(),
        architecture="sm_90",
    )


@pytest.mark.parametrize("version", RELEASES)
def test_a_good_engine_passes_its_audit(job: Job, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("DOUBLE_VERSION", version)
    forget_doubles()
    assert build(job).layer_types == {"bfloat16": 2, "float32": 1}


@pytest.mark.parametrize("version", RELEASES)
def test_an_engine_of_other_types_fails_it(job: Job, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("DOUBLE_VERSION", version)
    monkeypatch.setenv("DOUBLE_FAULT", "float32 instead")
    forget_doubles()
    with pytest.raises(AuditError, match="no layer computes in bfloat16; found: 3 float32"):
        build(job)
