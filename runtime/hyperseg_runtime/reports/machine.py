"""Where something was measured: what a number may be compared with."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("hyperseg-trt", "onnxruntime", "onnxruntime-gpu", "tensorrt", "cuda-python", "torch", "numpy")
MISSING = "not installed"


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Processor, cores, memory and versions."""
    memory = memory_bytes()
    return {
        "processor": processor(),
        "cores": cores(),
        "memory_gb": "not known on this platform" if memory is None else round(memory / 1e9, 1),
        "python": platform.python_version(),
        **{name: installed(name) for name in packages},
    }


def cores() -> int:
    """Those that this process may use, where the platform tells; all of them elsewhere."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Of the whole machine; None where Python has no way to ask, as on Windows."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING
