"""What is reported as there, missing or wrong."""

import json
from pathlib import Path

import pytest

from hyperseg_runtime import doctor
from hyperseg_runtime.doctor import Finding, examine
from support import RunCli

SMI = """#!/bin/sh
echo "NVIDIA H200, 9.0, 143771 MiB, 580.95.05"
"""


def part(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.part == name)


def test_the_report_has_every_part(run_cli: RunCli) -> None:
    result = run_cli("doctor", "--json")
    assert result.code == 0
    parts = {finding["part"]: finding for finding in json.loads(result.out)["findings"]}
    assert parts["onnxruntime"]["works"] and parts["torch"]["works"]
    assert {"GPU", "tensorrt", "cuda-python", "tritonclient", "tritonserver", "memory", "disk"} <= parts.keys()
    assert all(finding["works"] or finding["advice"] for finding in parts.values())


def test_the_table_ends_with_what_to_do(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = Finding("tensorrt", "build", "not installed", False, "pip install 'hyperseg-trt[trt]'")
    monkeypatch.setattr(doctor, "examine", lambda directory: [advice])
    result = run_cli("doctor")
    assert result.out.splitlines()[-1] == "tensorrt: pip install 'hyperseg-trt[trt]'"


def test_a_gpu_is_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    gpu = part(examine(tmp_path), "GPU")
    assert gpu.works and gpu.found == "NVIDIA H200, 9.0, 143771 MiB, 580.95.05"


def test_a_driver_that_fails_is_not_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    gpu = part(examine(tmp_path), "GPU")
    assert not gpu.works and "nvidia-smi failed" in gpu.found


@pytest.mark.parametrize(
    ("version", "works", "advice"),
    [
        ("11.4.0.106", True, ""),
        ("10.16.1", True, "NVIDIA/TensorRT#4780"),
        ("10.13.0", False, "TensorRT 10.15 to 11.x is needed, found 10.13.0"),
    ],
)
def test_a_release_of_tensorrt_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, works: bool, advice: str
) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: version)
    tensorrt = part(examine(tmp_path), "tensorrt")
    assert (tensorrt.found, tensorrt.works) == (version, works) and advice in tensorrt.advice
