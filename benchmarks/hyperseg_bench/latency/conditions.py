"""Where a run was made: everything that a number may depend on."""

from pathlib import Path
from typing import Any

import psutil

from hyperseg_bench.latency.gpu import Gpu
from hyperseg_runtime.reports import machine

CPU_FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def conditions(threads: int | None, gpu: Gpu | None) -> dict[str, Any]:
    """Where it ran, and threads, load, clocks and the GPU's own words."""
    return {
        **machine.environment((*machine.PACKAGES, "openvino")),
        "gpu": gpu.facts() if gpu else "none that NVML tells of",
        "threads": threads or machine.cores(),
        "load_average": [round(load, 2) for load in psutil.getloadavg()],
        "cpu_governor": _frequency("scaling_governor"),
        "cpu_max_khz": _frequency("scaling_max_freq"),
    }


def resident_bytes() -> int:
    """Of this process, now."""
    resident: int = psutil.Process().memory_info().rss
    return resident


def _frequency(name: str) -> str:
    path = CPU_FREQUENCY / name
    return path.read_text().strip() if path.is_file() else "not told"
