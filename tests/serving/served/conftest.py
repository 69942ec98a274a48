"""The real server, started by `serve up` on the CPU profile: one for all files of this folder.

One worker runs them in the order of their names; the last breaks and stops the server.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from hyperseg_serving.client.client import Client
from hyperseg_serving.repository.writer import bundle_spec, write_repository
from hyperseg_serving.server.distribution import Distribution
from hyperseg_serving.server.trial import ServeUp, serve_up
from serving_support import LIMITS


@pytest.fixture(scope="package")
def served(
    distribution: Distribution, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeUp]:
    folder = tmp_path_factory.mktemp("served")
    bundle = Path(shutil.copytree(tiny_bundle, folder / "bundle"))
    spec, engines = bundle_spec(bundle)
    write_repository(folder / "repository", replace(spec, limits=LIMITS), engines)
    with serve_up(folder / "repository", bundle, folder / "log", "--shared-memory") as up:
        family = psutil.Process(up.process.pid).children(recursive=True)
        yield up
    assert up.process.returncode == 0
    assert not psutil.wait_procs(family, timeout=5)[1]


@pytest.fixture
def client(served: ServeUp) -> Iterator[Client]:
    with Client(served.grpc) as opened:
        yield opened
