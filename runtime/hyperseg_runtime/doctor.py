"""What this machine has of what the verbs need, and how to get the rest. Imports nothing it reports on for long."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from hyperseg_runtime.contracts.tensorrt_versions import defects_of, require_usable
from hyperseg_runtime.errors import HypersegError

NVIDIA_SMI_TIMEOUT_S = 20
CHECKS = "hyperseg_trt.checks"
"""Entry points of packages that look for something of their own: functions without arguments that return a Finding."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` is empty where nothing is to be done."""

    part: str
    needed_for: str
    found: str
    works: bool
    advice: str = ""


def examine(directory: Path) -> list[Finding]:
    """Look at packages, GPU, memory and the disk of `directory`."""
    return [
        _package("onnxruntime", "run, verify on the CPU", "pip install hyperseg-trt"),
        _package("torch", "export, verify", "pip install 'hyperseg-trt[export]'"),
        _gpu(),
        _tensorrt(),
        _package("cuda-python", "build, run on engines", "pip install 'hyperseg-trt[trt]'"),
        _package("tritonclient", "serve init, client over grpc", "pip install 'hyperseg-trt[triton]'"),
        *(entry.load()() for entry in sorted(entry_points(group=CHECKS))),
        _memory(),
        _disk(directory),
    ]


def _package(name: str, needed_for: str, advice: str) -> Finding:
    try:
        return Finding(name, needed_for, version(name), True)
    except PackageNotFoundError:
        return Finding(name, needed_for, "not installed", False, advice)


def _gpu() -> Finding:
    needed = "build, run on engines"
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
        )
    except FileNotFoundError:
        return Finding("GPU", needed, "no NVIDIA driver", False, "install an NVIDIA driver of version 580 or newer")
    except (subprocess.SubprocessError, OSError) as error:
        return Finding("GPU", needed, f"nvidia-smi failed: {error}", False, "see what nvidia-smi says")
    return Finding("GPU", needed, "; ".join(answer.stdout.split("\n")).strip("; "), True)


def _tensorrt() -> Finding:
    """Also what is known to be wrong with the release."""
    package = _package("tensorrt", "build, run on engines", "pip install 'hyperseg-trt[trt]'")
    if not package.works:
        return package
    try:
        require_usable(package.found)
    except HypersegError as error:
        return Finding(package.part, package.needed_for, package.found, False, str(error))
    notes = [f"{d.symptom} ({d.reference}): {d.consequence}" for d in defects_of(package.found)]
    return Finding(package.part, package.needed_for, package.found, True, "; ".join(notes))


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    advice = "" if total >= 24e9 else "the full model's export needs about 16 GB, its engines about 20 GB"
    return Finding("memory", "export, build", f"{total / 1e9:.0f} GB", total >= 24e9, advice)


def _disk(directory: Path) -> Finding:
    free = shutil.disk_usage(directory).free
    advice = "" if free >= 30e9 else "the full model's bundle takes 14 GB in float32, its engines about 7 GB"
    return Finding("disk", "export, build", f"{free / 1e9:.0f} GB free in {directory}", free >= 30e9, advice)
