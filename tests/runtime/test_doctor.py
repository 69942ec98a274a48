"""What is reported as there, missing or wrong."""

import json
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from hyperseg_runtime import doctor
from hyperseg_runtime.contracts import cuda_versions
from hyperseg_runtime.doctor import Finding, examine
from hyperseg_runtime.importable import try_import
from support import RunCli

TRIED = cache(try_import)
SMI = """#!/bin/sh
echo "NVIDIA H200, 9.0, 143771 MiB, 580.95.05"
"""


@pytest.fixture(autouse=True)
def _imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each module is tried in a process of its own, which takes seconds."""
    monkeypatch.setattr(doctor, "try_import", TRIED)


def part(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.part == name)


def test_the_report_has_every_part(run_cli: RunCli) -> None:
    result = run_cli("doctor", "--json")
    assert result.code == 0
    parts = {finding["part"]: finding for finding in json.loads(result.out)["findings"]}
    assert parts["onnxruntime"]["works"] and parts["torch"]["works"]
    assert {"GPU", "tensorrt", "cuda-bindings", "tritonclient", "tritonserver", "memory", "disk"} <= parts.keys()
    assert all(finding["works"] or finding["advice"] for finding in parts.values())


def test_the_table_ends_with_what_to_do(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = Finding("tensorrt", "build", "not installed", False, "pip install 'hyperseg-trt[trt]'")
    monkeypatch.setattr(doctor, "examine", lambda directory: [advice])
    result = run_cli("doctor")
    assert result.out.splitlines()[-1] == "tensorrt: pip install 'hyperseg-trt[trt]'"


def test_a_gpu_is_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, monkeypatch, SMI)
    gpu = part(examine(tmp_path), "GPU")
    assert gpu.works and gpu.found == "NVIDIA H200, 9.0, 143771 MiB, 580.95.05"


def test_a_driver_that_fails_is_not_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, monkeypatch, "#!/bin/sh\nexit 9\n")
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
    monkeypatch.setattr(cuda_versions, "version", only({"tensorrt-cu13": version}))
    tensorrt = part(examine(tmp_path), "tensorrt")
    assert (tensorrt.found, tensorrt.works) == (f"{version} for CUDA 13", works) and advice in tensorrt.advice


OLD_SMI = """#!/bin/sh
echo "NVIDIA L4, 8.9, 23034 MiB, 535.183.06"
"""


@pytest.mark.parametrize(
    ("packages", "works", "advice"),
    [
        (
            {"tensorrt-cu13": "11.4.0.106", "cuda-bindings": "13.4.1"},
            False,
            "driver 535.183.06: the installed packages need CUDA 13, so driver 580 or newer; renew the driver, or take "
            "what fits this one: pip uninstall -y tensorrt-cu13 tensorrt-cu13-bindings tensorrt-cu13-libs && "
            "pip install 'hyperseg-trt[trt-cu12]'",
        ),
        ({"tensorrt-cu12": "11.4.0.106", "cuda-bindings": "13.4.1"}, False, "pip install 'hyperseg-trt[trt-cu12]'"),
        ({"tensorrt-cu12": "11.4.0.106", "cuda-bindings": "12.9.4"}, True, ""),
        ({}, True, ""),
    ],
)
def test_a_driver_too_old_for_the_packages_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: dict[str, str], works: bool, advice: str
) -> None:
    smi(tmp_path, monkeypatch, OLD_SMI)
    monkeypatch.setattr(cuda_versions, "version", only(packages))
    gpu = part(examine(tmp_path), "GPU")
    assert gpu.found == "NVIDIA L4, 8.9, 23034 MiB, 535.183.06"
    assert gpu.works is works and advice in gpu.advice and bool(gpu.advice) is not works


def test_the_pip_line_fits_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_versions, "version", only({}))
    smi(tmp_path, monkeypatch, OLD_SMI)
    assert part(examine(tmp_path), "tensorrt").advice == "pip install 'hyperseg-trt[trt-cu12]'"
    smi(tmp_path, monkeypatch, SMI)
    assert part(examine(tmp_path), "tensorrt").advice == "pip install 'hyperseg-trt[trt]'"


def test_a_driver_without_a_gpu_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, monkeypatch, "#!/bin/sh\n")
    gpu = part(examine(tmp_path), "GPU")
    assert not gpu.works and gpu.found == "a driver and no GPU"


def test_two_tensorrts_in_one_place_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_versions, "version", only({"tensorrt-cu12": "11.4.0", "tensorrt-cu13": "11.4.0"}))
    tensorrt = part(examine(tmp_path), "tensorrt")
    assert not tensorrt.works and "tensorrt-cu12 and tensorrt-cu13 overwrite each other" in tensorrt.advice


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """nvidia-smi as a program that says something."""
    path = folder / "nvidia-smi"
    path.write_text(program)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def only(packages: dict[str, str]) -> Callable[[str], str]:
    """Stands for importlib.metadata.version where these packages alone are installed."""

    def version(name: str) -> str:
        if name not in packages:
            raise PackageNotFoundError(name)
        return packages[name]

    return version
