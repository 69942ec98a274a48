"""Load for a server: callers in a closed loop, or requests at a fixed rate, with times per request.

At a fixed rate a request's time counts from when it was due, not from when a caller was free for it: a server
that falls behind cannot hide it.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

Call = Callable[[int], object]
"""One request; is given its number."""
MAX_IN_FLIGHT = 256


@dataclass(frozen=True)
class Load:
    """Milliseconds of every request that went well, and how many did not."""

    samples_ms: Sequence[float]
    errors: Sequence[str]
    wall_s: float

    def summary(self) -> dict[str, Any]:
        if not self.samples_ms:
            nothing = dict.fromkeys(("p50_ms", "p90_ms", "p99_ms", "max_ms"))
            return {"requests": 0, "errors": len(self.errors), "per_second": 0.0, **nothing}
        samples = self.samples_ms if len(self.samples_ms) > 1 else [*self.samples_ms] * 2  # quantiles wants two
        cuts = statistics.quantiles(samples, n=100, method="inclusive")
        return {
            "requests": len(self.samples_ms),
            "errors": len(self.errors),
            "per_second": round(len(self.samples_ms) / self.wall_s, 2),
            "p50_ms": round(cuts[49], 2),
            "p90_ms": round(cuts[89], 2),
            "p99_ms": round(cuts[98], 2),
            "max_ms": round(max(self.samples_ms), 2),
        }


def closed_loop(call: Call, callers: int, requests: int, warm_up: int = 3) -> Load:
    """`callers` at once, each sending its next request when the last was answered."""
    return asyncio.run(_load(call, requests, warm_up, callers, lambda number: 0.0))


def fixed_rate(call: Call, per_second: float, requests: int, warm_up: int = 3) -> Load:
    """Requests at equal distances in time, whatever becomes of them."""
    return asyncio.run(_load(call, requests, warm_up, MAX_IN_FLIGHT, lambda number: number / per_second))


async def _load(call: Call, requests: int, warm_up: int, callers: int, due_s: Callable[[int], float]) -> Load:
    samples: list[float] = []
    errors: list[str] = []
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(callers)
    with ThreadPoolExecutor(callers) as pool:
        for number in range(warm_up):
            with suppress(Exception):  # what fails here fails again below, and is counted there
                await loop.run_in_executor(pool, call, number)
        start = perf_counter()

        async def send(number: int, due: float) -> None:
            try:
                await loop.run_in_executor(pool, call, number)
                samples.append((perf_counter() - due) * 1000)
            except Exception as error:  # whatever a server does to its callers is a result here
                errors.append(f"{type(error).__name__}: {error}")
            finally:
                room.release()

        sent: list[Awaitable[None]] = []
        for number in range(requests):
            wait_s = start + due_s(number) - perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            planned = start + due_s(number) if due_s(number) else None
            await room.acquire()
            sent.append(asyncio.create_task(send(number, planned or perf_counter())))
        await asyncio.gather(*sent)
        return Load(samples, errors, perf_counter() - start)
