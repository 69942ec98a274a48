"""What a server does when it is pressed, attacked, stopped and broken: `serve up` on the CPU, callers beside it.

    python benchmarks/serving/stress_serving.py BUNDLE                     # everything, about half an hour
    python benchmarks/serving/stress_serving.py BUNDLE --only drain kill   # some of it; the other stored rows stay
    python benchmarks/serving/stress_serving.py BUNDLE --scale 0.05        # a twentieth of the requests and seconds

hostile   2,000 requests of 16 callers about new and seen images, without and with one caller who sends the most
          expensive allowed request again and again
overload  three times of what the server can answer, for 60 s, by callers who do not try again
drain     SIGTERM while 8 callers ask
kill      kill -9 of the public model's process and of the server while 8 callers ask
memory    10,000 requests of 8 callers, and the resident sizes

The last line of output is the path of the JSON file.
"""

import argparse
import io
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from load_generator import fixed_rate
from PIL import Image

from hyperseg_bench import measure
from hyperseg_export.samples import sample_images
from hyperseg_runtime.errors import HypersegError, UnavailableError
from hyperseg_serving.client import client as clients
from hyperseg_serving.client.canary import ask_canary, ask_live
from hyperseg_serving.client.client import Client
from hyperseg_serving.contract import Limits
from hyperseg_serving.names import ModelNames
from hyperseg_serving.repository.writer import bundle_spec, write_repository

PROGRAM = "from hyperseg_runtime.cli.app import main; main()"
CALLERS, HONEST_CALLERS = 8, 16
READY_S = 120
PAUSE_S = 0.05
WORST_HW = (5000, 8000)
SCENARIOS: dict[str, Callable[["Up", float], dict[str, Any]]] = {}


@dataclass
class Up:
    """A server under `serve up`."""

    process: psutil.Popen
    http: str
    grpc: str
    metrics: str

    def metric(self, line: str) -> float:
        """Sum of what the page shows on lines that begin so."""
        with urllib.request.urlopen(self.metrics) as page:
            lines = page.read().decode().splitlines()
        return sum(float(found.rpartition(" ")[2]) for found in lines if found.startswith(line))

    def model_process(self) -> psutil.Process:
        """Of the public model."""
        with Client(self.http) as client:
            public = ModelNames(client.family).public
        return next(p for p in self.process.children(recursive=True) if f"{public}_0_0" in p.cmdline())

    def server_process(self) -> psutil.Process:
        return next(p for p in self.process.children() if "tritonserver" in p.name())

    def wait_until_back(self) -> float:
        """Seconds until a mask comes again."""
        start = time.monotonic()
        while time.monotonic() - start < READY_S:
            try:
                ask_canary(self.http, 5)
                return time.monotonic() - start
            except HypersegError:
                time.sleep(PAUSE_S)
        raise RuntimeError(f"the server did not come back within {READY_S} s")


@dataclass
class Calls:
    """What became of requests, by kind of error, and seconds that each took."""

    answered_s: list[float] = field(default_factory=list)
    failed_s: dict[str, list[float]] = field(default_factory=dict)

    def call(self, ask: Callable[[], object]) -> bool:
        start = time.perf_counter()
        try:
            ask()
        except HypersegError as error:
            self.failed_s.setdefault(kind_of(error), []).append(time.perf_counter() - start)
            return False
        self.answered_s.append(time.perf_counter() - start)
        return True

    def summary(self) -> dict[str, Any]:
        failed = {kind: {"requests": len(spent), **percentiles(spent)} for kind, spent in self.failed_s.items()}
        return {"answered": len(self.answered_s), **percentiles(self.answered_s), "failed": failed}


def kind_of(error: HypersegError) -> str:
    """The identifier of a refusal, else what a caller sees."""
    text = str(error)
    return text.partition(":")[0] if text.startswith("E_") else f"{type(error).__name__}: {text[:45]}"


def percentiles(spent_s: Sequence[float]) -> dict[str, float | None]:
    if not spent_s:
        return {"p50_ms": None, "p99_ms": None, "max_ms": None}
    ordered = sorted(spent_s)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] * 1000, 1),
        "max_ms": round(ordered[-1] * 1000, 1),
    }


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
    clients.ATTEMPTS = 1  # who is refused does not come again
    held = threading.local()
    calls = Calls()

    def ask(number: int) -> object:
        if not hasattr(held, "client"):
            held.client = Client(up.grpc)
        return calls.call(lambda: held.client.segment(image, [f"thing {number}"]))

    idle = fixed_rate(ask, 2, 10)
    idle_ms = statistics.median(idle.samples_ms)
    rate = capacity(ask, max(2.0, 10 * scale))
    refused_before, calls = up.metric('hyperseg_requests_refused{reason="E_BUSY"}'), Calls()
    watched = Watch(up)
    with watched:
        fixed_rate(ask, 3 * rate, round(3 * rate * seconds), warm_up=0)
    start = time.monotonic()
    while True:  # until a request takes no longer than twice what it took before
        begun = time.monotonic()
        ask(0)
        if (time.monotonic() - begun) * 1000 < 2 * idle_ms:
            break
    recovered_s = time.monotonic() - start
    time.sleep(1.5)  # numbers are published every second
    counted = up.metric('hyperseg_requests_refused{reason="E_BUSY"}') - refused_before
    return {
        "capacity_per_second": round(rate, 2),
        "offered_per_second": round(3 * rate, 2),
        "seconds": seconds,
        **calls.summary(),
        "counted_as_busy": counted,
        "recovered_s": round(recovered_s, 2),
        "probes": watched.summary(),
    }


def capacity(ask: Callable[[int], object], seconds: float) -> float:
    """Requests a second of four callers in a closed loop."""
    end_s = time.monotonic() + seconds
    counts = [0] * 4

    def caller(number: int) -> None:
        while time.monotonic() < end_s:
            ask(number)
            counts[number] += 1

    run_callers(caller, 4)
    return sum(counts) / seconds


class Watch:
    """Asks every second whether the server lives, and every five for a mask, as probes do."""

    def __init__(self, up: Up) -> None:
        self._up = up
        self._stop = threading.Event()
        self._live, self._canary = Calls(), Calls()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(1):
            self._live.call(lambda: ask_live(self._up.http, 10))
            if number % 5 == 0:
                self._canary.call(lambda: ask_canary(self._up.http, 10))
            number += 1

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def summary(self) -> dict[str, Any]:
        return {"live": self._live.summary(), "canary": self._canary.summary()}


@scenario
def drain(up: Up, scale: float) -> dict[str, Any]:
    clients.ATTEMPTS = 1
    calls, stop = asking(up)
    time.sleep(max(2.0, 5 * scale))
    up.process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    status = up.process.wait(60)
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
        calls, stop = asking(up)
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
        sizes_mb = [round(process.memory_info().rss / 1e6) for process in (model, server)]
        samples.append({"requests": requests // 10 * (tenth + 1), "model_mb": sizes_mb[0], "server_mb": sizes_mb[1]})
        print(samples[-1], flush=True)
    return {**calls.summary(), "samples": samples}


def asking(up: Up) -> tuple[Calls, Callable[[], None]]:
    """Callers who ask until they are told to stop; who is refused goes on after a pause."""
    calls, stop = Calls(), threading.Event()
    image = pictures(1, 0)[0]

    def caller(number: int) -> None:
        while not stop.is_set():
            try:
                with Client(up.grpc, timeout_s=30, family="hyperseg") as client:
                    while not stop.is_set():
                        if not calls.call(lambda: client.segment(image, [f"thing {number}"])):
                            break
            except UnavailableError:
                pass
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()

    def end() -> None:
        stop.set()
        for thread in threads:
            thread.join()

    return calls, end


def run_callers(caller: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(caller, number) for number in range(count)]:
            done.result()


def pictures(count: int, first: int) -> list[bytes]:
    """JPEG files of one photograph, each shifted by another number of columns."""
    pixels = np.asarray(Image.open(sample_images()[1]).convert("RGB"))
    return [jpeg(Image.fromarray(np.roll(pixels, shift, axis=1))) for shift in range(first, first + count)]


def coarse_noise(height: int, width: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return jpeg(Image.fromarray(pixels).resize((width, height)))


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


@contextmanager
def served(bundle: Path) -> Iterator[Up]:
    with tempfile.TemporaryDirectory() as work:
        write_repository(Path(work) / "repository", *bundle_spec(bundle))
        command = [sys.executable, "-c", PROGRAM, "serve", "up", f"{work}/repository", str(bundle), "--profile", "cpu"]
        command += ["--threads", "1", "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--restarts", "9"]
        with (Path(work) / "log").open("w") as log:
            process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        lines = [process.stdout.readline() for _ in range(5)]
        if not lines[0].startswith("ready"):
            raise RuntimeError((Path(work) / "log").read_text())
        # What comes when it is started again is read, so that the pipe does not fill.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        urls = dict(line.split() for line in lines[1:4])
        try:
            yield Up(process, urls["http"], urls["grpc"], urls["metrics"])
        finally:
            if process.is_running():
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def measured(bundle: Path, chosen: Sequence[str], scale: float) -> list[dict[str, Any]]:
    """One server for each scenario."""
    rows = []
    for name in chosen:
        attempts = clients.ATTEMPTS
        with served(bundle) as up:
            rows.append({"scenario": name, "scale": scale, **SCENARIOS[name](up, scale)})
        clients.ATTEMPTS = attempts
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    rows = measured(options.bundle, options.only, options.scale)
    load = [round(value, 1) for value in os.getloadavg()]
    content = {
        "environment": measure.environment(),
        "load_average_at_the_end": load,
        "callers": "in one process of this machine, on the same cores as the server",
        "scenarios": measure.kept_rows("serving_stress", "scenarios", rows, ("scenario",)),
    }
    print(measure.write_results("serving_stress", content))


if __name__ == "__main__":
    main()
