"""A server for as long as a measurement or a test lasts."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hyperseg_runtime.errors import EnvironmentMissingError
from hyperseg_serving.contract import Profile
from hyperseg_serving.repository.writer import bundle_spec, write_repository
from hyperseg_serving.server.command import Address, ServerSettings
from hyperseg_serving.server.distribution import find_distribution
from hyperseg_serving.server.process import Server
from hyperseg_serving.service.parameters import THREADS_VARIABLE

READY_S = 300
END_S = 60


@contextmanager
def trial_server(bundle: Path, threads: int, shared_memory: bool = False) -> Iterator[Server]:
    """A bundle served by this machine's CPU on free ports, ready; its repository goes when it stops.

    `threads` are the CPU threads of one graph; `shared_memory` lets callers register theirs. Raises
    EnvironmentMissingError where there is no server, or none that starts.
    """
    with tempfile.TemporaryDirectory() as work:
        repository = Path(work) / "repository"
        write_repository(repository, *bundle_spec(bundle))
        environment = {THREADS_VARIABLE: str(threads)}
        settings = ServerSettings(
            repository, bundle, Profile.CPU, Address(0, 0, 0), shared_memory=shared_memory, environment=environment
        )
        with Server(find_distribution(), settings) as server:
            server.wait_until_ready(READY_S)
            yield server


@dataclass(frozen=True)
class ServeUp:
    """The verb `serve up` as a process of its own, and the addresses that it printed."""

    process: "subprocess.Popen[str]"
    bundle: Path
    log: Path
    http: str
    grpc: str
    metrics: str


@contextmanager
def serve_up(repository: Path, bundle: Path, log: Path, *options: str) -> Iterator[ServeUp]:
    """`hyperseg-trt serve up` with profile cpu on free ports, ready; `log` is written. SIGTERM ends it, unless it has
    ended. Raises EnvironmentMissingError where it does not come up.
    """
    command = [sys.executable, "-m", "hyperseg_runtime", "serve", "up", str(repository), str(bundle)]
    command += ["--profile", "cpu", "--threads", "1", "--timeout-s", str(READY_S), *options]
    command += [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
    with log.open("w") as written:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=written, text=True)
    assert process.stdout is not None
    with process.stdout as told:
        first, *addresses = [told.readline() for _ in range(4)]
        if not first.startswith("ready"):
            process.wait(END_S)
            raise EnvironmentMissingError(log.read_text())
        # What it tells when it starts a server again is read, so that the pipe does not fill.
        reading = threading.Thread(target=told.read, daemon=True)
        reading.start()
        urls = dict(line.split() for line in addresses)
        try:
            yield ServeUp(process, bundle, log, urls["http"], urls["grpc"], urls["metrics"])
        finally:
            process.terminate()
            process.wait(END_S)
            reading.join()
