"""A server for as long as a measurement or a test lasts."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperseg_serving.contract import Profile
from hyperseg_serving.repository.writer import bundle_spec, write_repository
from hyperseg_serving.server.command import Address, ServerSettings
from hyperseg_serving.server.distribution import find_distribution
from hyperseg_serving.server.process import Server
from hyperseg_serving.service.parameters import THREADS_VARIABLE

READY_S = 300


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
