"""The configurations for a GPU, as they are, in a server whose backend `tensorrt` runs ONNX files on the CPU."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hyperseg_runtime.errors import InputError, ServerError
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.client.canary import ask_canary
from hyperseg_serving.client.client import Client
from hyperseg_serving.client.grpc_transport import GrpcTransport
from hyperseg_serving.client.results import results_of
from hyperseg_serving.contract import Limits, Profile
from hyperseg_serving.server.command import Address, ServerSettings
from hyperseg_serving.server.distribution import Distribution
from hyperseg_serving.server.log import is_failure
from hyperseg_serving.server.process import SHARED_MEMORY, Server
from hyperseg_serving.service.parameters import BACKEND_VARIABLE, THREADS_VARIABLE
from hyperseg_serving.service.requests import Request, open_image
from serving_support import same

SHIM = Path(__file__).parent / "shim"


@pytest.fixture(scope="module")
def server(
    distribution: Distribution, repository: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    backends = Path(shutil.copytree(distribution.backends, tmp_path_factory.mktemp("served") / "backends"))
    shutil.copytree(SHIM, backends, dirs_exist_ok=True)
    environment = {BACKEND_VARIABLE: "onnxruntime", THREADS_VARIABLE: "1"}
    settings = ServerSettings(
        repository, tiny_bundle, Profile.GPU, Address(0, 0, 0), environment=environment, backends=backends
    )
    with Server(distribution, settings) as started:
        started.wait_until_ready(120)
        yield started
    assert not list(SHARED_MEMORY.glob(f"{started._region}*"))


def test_stages_are_asked_as_models_of_the_server(server: Server, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    with Client(server.address.grpc_url) as client:
        (found,) = client.segment(coffee_bytes, ["the cup"])
        frames = client.open_video()
        (frame,) = frames.push(coffee_bytes, ["the cup"], last=True)
        assert list(client.ask(coffee_bytes, "What?"))
    pixels = open_image(coffee_bytes, Limits())
    assert same([found], [pipeline(pixels, "the cup")])
    (expected,) = pipeline.open_video().push(pixels, ["the cup"])
    assert same(frame.results, expected.results)


def test_the_ensemble_chains_the_stages(server: Server, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    transport = GrpcTransport(server.address.grpc_url)
    found = results_of(transport.infer("hyperseg_referring", Request(coffee_bytes, ("the cup",)), 30))
    transport.close()
    assert same(found, [pipeline(open_image(coffee_bytes, Limits()), "the cup")])


def test_shared_memory_is_not_offered_unasked(server: Server, coffee_bytes: bytes) -> None:
    url = server.address.grpc_url.replace("grpc", "grpc+shm", 1)
    with Client(url) as client, pytest.raises(InputError, match="--shared-memory"):
        client.segment(coffee_bytes, ["the cup"])


def test_a_stage_whose_process_ended_shows_in_the_canary_and_in_the_log(server: Server) -> None:
    """Last: nothing brings it back. The log is what `serve up` passes on."""
    assert ask_canary(server.address.http_url, 30) > 0
    (stub,) = (p for p in psutil.Process(server.pid).children(recursive=True) if "hyperseg_fvp" in str(p.cmdline()))
    stub.kill()
    with pytest.raises(ServerError, match=r"^hyperseg: E_INTERNAL") as failure:
        ask_canary(server.address.http_url, 30)
    (reference,) = re.findall(r"under reference (\w+)", str(failure.value))
    assert server._log is not None
    give_up_s = time.monotonic() + 5
    while f"reference {reference}" not in server._log.text() and time.monotonic() < give_up_s:
        time.sleep(0.05)
    (line,) = (line for line in server._log.text().splitlines() if reference in line)
    assert is_failure(line)
