"""What this machine can do at best: products of matrices by type, and copies; a few seconds in a process of its own.

    python -m hyperseg_bench.latency.peaks THREADS

NumPy's product and copy are always tried. Packages add theirs by entry points; of each type the best one counts. The
process is its own because libraries for linear algebra take their number of threads when they are loaded.
"""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import entry_points
from time import perf_counter

import numpy as np

from hyperseg_bench.latency.cost import Peaks
from hyperseg_runtime.errors import HypersegError, Notice

PEAKS = "hyperseg_trt.peaks"
"""Entry points: functions of the number of threads that give `Found`."""
HOST, DEVICE = "host", "device"
Found = Mapping[str, tuple[Mapping[str, float], float]]
"""HOST or DEVICE -> operations a second by type, and bytes a second that a copy reads and writes."""
SIDE = 1024
COPY_BYTES = 2**28
SECONDS = 0.7
LIMIT_S = 120
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def machine_peaks(threads: int) -> dict[str, Peaks]:
    """HOST and, where there is one, DEVICE; nothing, with a warning, where the probes fail."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    command = [sys.executable, "-m", __spec__.name, str(threads)]
    try:
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=True)
        content = json.loads(finished.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        warnings.warn(Notice(f"the machine's peaks were not measured: {error}"), stacklevel=2)
        return {}
    return {place: Peaks(flops, copy) for place, (flops, copy) in content.items()}


def measure(threads: int) -> dict[str, Peaks]:
    """The best of all probes that are installed, by place."""
    best = {HOST: Peaks({"float32": _product()}, _copy(threads))}
    for entry in sorted(entry_points(group=PEAKS)):
        with suppress(ImportError, HypersegError):  # its packages are not there
            best = best_of(best, {place: Peaks(*found) for place, found in entry.load()(threads).items()})
    return best


def best_of(first: Mapping[str, Peaks], second: Mapping[str, Peaks]) -> dict[str, Peaks]:
    """Of two probes, by place."""
    both = {place: peaks.best(second[place]) for place, peaks in first.items() if place in second}
    return {**first, **second, **both}


def best_rate(work: Callable[[], object], amount: float) -> float:
    """`amount` a second at the quickest of the calls that fit into a moment; the first one warms up."""
    work()
    quickest, until = float("inf"), perf_counter() + SECONDS
    while (start := perf_counter()) < until:
        work()
        quickest = min(quickest, perf_counter() - start)
    return amount / quickest


def _product() -> float:
    first, second = (np.random.default_rng(seed).standard_normal((SIDE, SIDE), np.float32) for seed in (0, 1))
    out = np.empty_like(first)
    return best_rate(lambda: np.matmul(first, second, out=out), 2 * SIDE**3)


def _copy(threads: int) -> float:
    source, target = (np.zeros((threads, COPY_BYTES // threads), np.uint8) for _ in range(2))
    with ThreadPoolExecutor(threads) as pool:
        return best_rate(lambda: list(pool.map(np.copyto, target, source)), 2.0 * source.nbytes)


if __name__ == "__main__":
    reached = measure(int(sys.argv[1]))
    print(json.dumps({place: (peaks.flops_per_s, peaks.bytes_per_s) for place, peaks in reached.items()}))
