"""What scripts that measure on a GPU share: their command line, times, and how to tell that there is no GPU."""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from hyperseg_bench import measure

COPY_BYTES = 2**32
"""Where memory allows: on an H200 a copy of 1 GiB went at 2.7 TB/s, one of 4 GiB at 4.26."""
WARM_UP_S = 0.5
"""A GPU without work lowers its clocks and takes a while to raise them."""


def main(
    about: str | None,
    name: str,
    settings: Mapping[str, Any],
    rows_of: Callable[[int, float], Mapping[str, Sequence[Mapping[str, Any]]]],
) -> None:
    """Print the rows that `rows_of` measures and write them to benchmarks/results/`name`.json, beside `settings`.

    `rows_of` takes the rounds that were asked for and the bytes per second of a copy. Where there is no GPU, what is
    missing is said instead.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    if missing := what_is_missing():
        print(f"not measured: {missing}")
        return
    import torch

    bandwidth = copy_bandwidth()
    measured = rows_of(rounds, bandwidth)
    content = {
        "environment": measure.environment() | {"gpu": torch.cuda.get_device_name()},
        "conditions": {"rounds": rounds, **settings},
        "copy_bytes_per_s": bandwidth,
        **measured,
    }
    for row in (row for rows in measured.values() for row in rows):
        print(row)
    print(measure.write_results(name, content))


def what_is_missing() -> str:
    """Empty where torch and a GPU are at hand."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else "no GPU, or torch is built without CUDA"


def graph_times_ms(work: Callable[[], object], rounds: int) -> list[float]:
    """Times of a CUDA graph of `work`, each between two events, once it has run for a while."""
    import torch

    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = work()
    begun = perf_counter()
    while perf_counter() - begun < (WARM_UP_S if rounds > 1 else 0):
        graph.replay()
        torch.cuda.synchronize()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    del kept
    return times


def copy_bandwidth() -> float:
    """Bytes per second that a device-to-device copy reads and writes."""
    import torch

    size_bytes = min(COPY_BYTES, torch.cuda.mem_get_info()[0] // 4)
    source = torch.empty(size_bytes, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    milliseconds = statistics.median(graph_times_ms(lambda: target.copy_(source), rounds=20))
    return 2 * size_bytes / milliseconds * 1000
