"""The server of a stress test: `serve up` on cores of its own, its processes, its numbers."""

import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from hyperseg_runtime.errors import HypersegError
from hyperseg_serving.client.canary import ask_canary
from hyperseg_serving.client.client import Client
from hyperseg_serving.names import ModelNames
from hyperseg_serving.repository.writer import bundle_spec, write_repository
from hyperseg_serving.server.trial import ServeUp, serve_up

READY_S = 120
PAUSE_S = 0.05
UNBOUNDED_RATE = "1000000"


@dataclass(frozen=True)
class Cores:
    """Of the server with its gateway, and of the callers; equal where there is one core only."""

    server: list[int]
    callers: list[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """The last core for the callers, all others for the server."""
        cores = sorted(psutil.Process().cpu_affinity())
        return cls(cores[:-1] or cores, cores[-1:])

    def told(self) -> str:
        return f"server on cores {self.server}, all callers in one process on core {self.callers}"


@dataclass(frozen=True)
class Up:
    """What callers see is `http` and `grpc`: the gateway's where there is one."""

    running: ServeUp

    @property
    def http(self) -> str:
        return self.running.http

    @property
    def grpc(self) -> str:
        return self.running.grpc

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.running.process.pid)

    def metric(self, line: str) -> float:
        """Sum of what the page shows on lines that begin so."""
        with urllib.request.urlopen(self.running.metrics) as page:
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


@contextmanager
def served(bundle: Path, gateway: bool, cores: Cores) -> Iterator[Up]:
    """A fresh server, which inherits its cores; this process is on the callers' meanwhile."""
    own = psutil.Process()
    before = own.cpu_affinity()
    with tempfile.TemporaryDirectory() as work:
        write_repository(Path(work) / "repository", *bundle_spec(bundle))
        through = ("--gateway", "--requests-per-minute", UNBOUNDED_RATE) if gateway else ()
        options = ("--restarts", "9", *through)
        own.cpu_affinity(cores.server)
        try:
            with serve_up(Path(work) / "repository", bundle, Path(work) / "log", *options) as running:
                own.cpu_affinity(cores.callers)
                for thread in own.threads():  # those that are there already
                    psutil.Process(thread.id).cpu_affinity(cores.callers)
                yield Up(running)
        finally:
            own.cpu_affinity(before)
