"""What a server does when it is pressed, attacked, stopped and broken: `serve up` on the CPU, callers beside it.

    python benchmarks/serving/stress_serving.py BUNDLE                     # everything, about an hour
    python benchmarks/serving/stress_serving.py BUNDLE --only drain kill   # some of it; the other stored rows stay
    python benchmarks/serving/stress_serving.py BUNDLE --gateway           # the same through the gateway, in rows apart
    python benchmarks/serving/stress_serving.py BUNDLE --missing           # what has no row of this scale yet
    python benchmarks/serving/stress_serving.py BUNDLE --scale 0.05        # a twentieth of the requests and seconds

hostile   2,000 requests of 16 callers about new and seen images, without and with one caller who sends the most
          expensive allowed request again and again
overload  three times of what the server can answer, for 60 s, by callers who do not try again
drain     SIGTERM while 8 callers ask
kill      kill -9 of the public model's process and of the server while 8 callers ask
memory    10,000 requests of 8 callers, and the resident sizes

Each has a server of its own and is stored when it is done, with the conditions: the server and its gateway run on all
cores but the last, which the callers have; `nice -n -15` in front keeps other work of the machine off both. The last
line of output is the path of the JSON file.
"""

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from stress_callers import Calls, Watch, asking, coarse_noise, pictures, run_callers
from stress_load import Load, message
from stress_server import PAUSE_S, READY_S, Cores, Up, served

from hyperseg_bench import measure
from hyperseg_serving.client import client as clients
from hyperseg_serving.client.client import Client
from hyperseg_serving.contract import Limits
from hyperseg_serving.names import ModelNames

CALLERS, HONEST_CALLERS = 8, 16
WORST_HW = (5000, 8000)
NAME = "serving_stress"
BUSY = 'hyperseg_requests_refused{reason="E_BUSY"}'
KEYS = ("scenario", "gateway", "scale")
SCENARIOS: dict[str, Callable[[Up, float], dict[str, Any]]] = {}


def scenario(measured: Callable[[Up, float], dict[str, Any]]) -> Callable[[Up, float], dict[str, Any]]:
    SCENARIOS[measured.__name__] = measured
    return measured


@scenario
def hostile(up: Up, scale: float) -> dict[str, Any]:
    requests = max(HONEST_CALLERS, round(2000 * scale))
    alone = honest(up, requests)
    stop = threading.Event()
    attacks = Calls()
    with ThreadPoolExecutor(1) as pool:
        attacking = pool.submit(attack, up, stop, attacks)
        beside = honest(up, requests)
        stop.set()
        attacking.result()
    ratio = (beside.summary()["p99_ms"] or 0) / (alone.summary()["p99_ms"] or 1)
    return {
        "alone": alone.summary(),
        "with_hostile_caller": beside.summary(),
        "hostile_requests": attacks.summary(),
        "lost": requests - len(beside.answered_s),
        "p99_ratio": round(ratio, 2),
    }


def honest(up: Up, requests: int) -> Calls:
    """Half of them about images that were seen before."""
    seen = pictures(4, 0)
    calls = Calls()

    def caller(number: int) -> None:
        with Client(up.grpc) as client:
            for index in range(number, requests, HONEST_CALLERS):
                image = seen[index % len(seen)] if index % 2 else pictures(1, 100 + index)[0]
                calls.call(partial(client.segment, image, [f"thing {index}"]))

    run_callers(caller, HONEST_CALLERS)
    return calls


def attack(up: Up, stop: threading.Event, calls: Calls) -> None:
    """The largest image with as many texts as are taken."""
    height, width = WORST_HW
    texts = [f"thing {number}" for number in range(Limits().max_mask_pixels // (height * width))]
    image = coarse_noise(height, width)
    with Client(up.grpc, timeout_s=READY_S) as client:
        while not stop.is_set():
            calls.call(lambda: client.segment(image, texts))


@scenario
def overload(up: Up, scale: float) -> dict[str, Any]:
    seconds = 60 * scale
    (image,) = pictures(1, 0)
    with Client(up.grpc) as client:
        model = ModelNames(client.family).public
    load = Load(up.grpc, [message(model, image, f"thing {number}") for number in range(1000)])
    idle_s = load.idle_s()
    rate = load.capacity(max(2.0, 10 * scale))
    refused_before = up.metric(BUSY)
    with Watch(up) as watched:
        calls = load.offered(3 * rate, seconds)
    start = time.monotonic()
    while load.idle_s() > 2 * idle_s:  # until a request takes no longer than twice what it took before
        time.sleep(PAUSE_S)
    recovered_s = time.monotonic() - start
    time.sleep(1.5)  # numbers are published every second
    return {
        "capacity_per_second": round(rate, 2),
        "offered_per_second": round(3 * rate, 2),
        "seconds": seconds,
        **calls.summary(),
        "counted_as_busy": up.metric(BUSY) - refused_before,
        "recovered_s": round(recovered_s, 2),
        "probes": watched.summary(),
    }


@scenario
def drain(up: Up, scale: float) -> dict[str, Any]:
    clients.ATTEMPTS = 1
    calls, stop = asking(up, CALLERS)
    time.sleep(max(2.0, 5 * scale))
    up.running.process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    status = up.running.process.wait(60)
    ended_s = time.monotonic() - start
    stop()
    told = ("E_DRAINING", "UnavailableError")
    lost = sum(len(spent) for kind, spent in calls.failed_s.items() if not kind.startswith(told))
    return {**calls.summary(), "lost": lost, "status": status, "ended_s": round(ended_s, 2)}


@scenario
def kill(up: Up, scale: float) -> dict[str, Any]:
    clients.ATTEMPTS = 1
    found = {}
    for name, process in (("model", up.model_process), ("server", up.server_process)):
        calls, stop = asking(up, CALLERS)
        time.sleep(max(2.0, 5 * scale))
        process().kill()
        start = time.monotonic()
        while sum(map(len, calls.failed_s.values())) < CALLERS and time.monotonic() - start < READY_S:
            time.sleep(PAUSE_S)
        told_s = time.monotonic() - start
        back_s = told_s + up.wait_until_back()
        stop()
        found[name] = {**calls.summary(), "all_callers_told_s": round(told_s, 2), "back_s": round(back_s, 2)}
    return found


@scenario
def memory(up: Up, scale: float) -> dict[str, Any]:
    requests = max(100, round(10_000 * scale))
    files = pictures(40, 200)
    model, server = up.model_process(), up.server_process()
    samples = []
    calls = Calls()
    for tenth in range(10):

        def caller(number: int, tenth: int = tenth) -> None:
            with Client(up.grpc) as client:
                for index in range(number, requests // 10, CALLERS):
                    file = files[(index + tenth) % len(files)]
                    calls.call(partial(client.segment, file, [f"thing {index}", "a cup"]))

        run_callers(caller, CALLERS)
        samples.append({"requests": requests // 10 * (tenth + 1), **own_and_shared_mb(model, server)})
        print(samples[-1], flush=True)
    return {**calls.summary(), "samples": samples}


def own_and_shared_mb(model: psutil.Process, server: psutil.Process) -> dict[str, int]:
    """What each holds for itself, and the model's pages of files and of the memory that it shares with the server."""
    sizes = {"model_mb": model.memory_info(), "server_mb": server.memory_info()}
    own = {name: round((size.rss - size.shared) / 1e6) for name, size in sizes.items()}
    return {**own, "shared_mb": round(sizes["model_mb"].shared / 1e6)}


def measured(bundle: Path, name: str, scale: float, gateway: bool = False) -> dict[str, Any]:
    """The row of one scenario, with a server of its own."""
    attempts, cores = clients.ATTEMPTS, Cores.of_this_machine()
    try:
        with served(bundle, gateway, cores) as up:
            found = SCENARIOS[name](up, scale)
    finally:
        clients.ATTEMPTS = attempts
    conditions = {
        "cores": cores.told(),
        "niceness": os.nice(0),
        "load_average": [round(value, 1) for value in os.getloadavg()],
    }
    return {"scenario": name, "gateway": gateway, "scale": scale, **conditions, **found}


def stored() -> set[tuple[Any, ...]]:
    path = measure.RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text())["scenarios"] if path.is_file() else []
    return {tuple(row.get(key, False) for key in KEYS) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--gateway", action="store_true", help="Callers go through Envoy.")
    parser.add_argument("--missing", action="store_true", help="Pass over what is stored at this scale.")
    options = parser.parse_args()
    for name in options.only:
        if options.missing and (name, options.gateway, options.scale) in stored():
            continue
        row = measured(options.bundle, name, options.scale, options.gateway)
        print(row, flush=True)
        rows = measure.kept_rows(NAME, "scenarios", [row], KEYS)
        print(measure.write_results(NAME, {"environment": measure.environment(), "scenarios": rows}))


if __name__ == "__main__":
    main()
