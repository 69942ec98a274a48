"""Where a run was made: everything that a number may depend on."""

import os
from pathlib import Path
from typing import Any

from hyperseg_bench.latency.gpu import Gpu
from hyperseg_runtime.reports import machine

CPU_FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def conditions(threads: int | None, gpu: Gpu | None) -> dict[str, Any]:
    """Where it ran, and threads, load, clocks and the GPU's own words."""
    return {
        **machine.environment((*machine.PACKAGES, "openvino")),
        "gpu": gpu.facts() if gpu else "none that NVML tells of",
        "threads": threads or machine.cores(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "cpu_governor": _frequency("scaling_governor"),
        "cpu_max_khz": _frequency("scaling_max_freq"),
    }


def resident_bytes() -> int:
    """Of this process, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _frequency(name: str) -> str:
    path = CPU_FREQUENCY / name
    return path.read_text().strip() if path.is_file() else "not told"
