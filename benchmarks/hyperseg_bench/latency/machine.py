"""Where a run was made: everything that a number may depend on."""

import os
from pathlib import Path
from typing import Any

from hyperseg_bench import measure
from hyperseg_bench.latency.gpu import Gpu

CPU_FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq")
PACKAGES = ("onnxruntime-gpu", "tensorrt", "cuda-python", "openvino")


def conditions(threads: int | None, gpu: Gpu | None) -> dict[str, Any]:
    """`measure.environment`, and threads, load, clocks and the GPU's own words."""
    return {
        **measure.environment(),
        "gpu": gpu.facts() if gpu else "none that NVML tells of",
        "threads": threads or len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "cpu_governor": _frequency("scaling_governor"),
        "cpu_max_khz": _frequency("scaling_max_freq"),
        **{name: measure.installed(name) for name in PACKAGES},
    }


def resident_bytes() -> int:
    """Of this process, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _frequency(name: str) -> str:
    path = CPU_FREQUENCY / name
    return path.read_text().strip() if path.is_file() else "not told"
