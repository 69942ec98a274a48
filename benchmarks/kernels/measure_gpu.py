"""Times on a GPU, and how to tell that there is none."""

import statistics
from collections.abc import Callable
from time import perf_counter

COPY_BYTES = 2**32
"""Where memory allows: on an H200 a copy of 1 GiB went at 2.7 TB/s, one of 4 GiB at 4.26."""
WARM_UP_S = 0.5
"""A GPU without work lowers its clocks and takes a while to raise them."""


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
