"""Lines of a run as they would be written, without running anything."""

import numpy as np

from hyperseg_bench.latency.lines import Line, Peak, Probed, Run, Sample, TimedCall, TimeLine, Work
from hyperseg_bench.latency.scenarios import REQUEST


def made_lines(medians: dict[str, float], count: int = 30, seed: int = 0, floor_ms: float = 2.0) -> list[Line]:
    """A run of the scenario `first`: subject -> milliseconds around which samples lie; one graph takes half of it."""
    random = np.random.default_rng(seed)
    lines: list[Line] = [
        Run(
            started_utc="2026-01-01T00:00:00+00:00", command=["hyperseg-trt", "bench", "a b"], rounds=count, warm_up=1,
            environment={"processor": "P", "threads": 1}, subjects={name: {"family": "f"} for name in medians},
            scenarios={"first": "an expression"},
        ),
        Peak(place="host", flops_per_s={"float32": 1e11}, bytes_per_s=1e10),
    ]  # fmt: skip
    for number in range(count):
        for name, ms in medians.items():
            taken = ms * float(1 + 0.05 * random.random())
            lines.append(Sample(subject=name, scenario="first", metric=REQUEST, round=number, ms=taken))
            lines.append(
                Sample(subject=name, scenario="first", metric=REQUEST, part="encoder", round=number, ms=taken / 2)
            )
        lines.append(Probed(scenario="first", round=number, ms=5.0))
    for name, ms in medians.items():
        calls = [TimedCall(graph="encoder", start_ms=1.0, ms=ms / 2, critical=True)]
        lines.append(TimeLine(subject=name, scenario="first", ms=ms, calls=calls))
        work = {"flops": {"float32": 2 * 10**8}, "bytes": 10**6, "floor_ms": floor_ms, "bound": "compute"}
        lines.append(
            Work.model_validate({"subject": name, "scenario": "first", "graph": "encoder", "calls": 1, **work})
        )
    return lines
