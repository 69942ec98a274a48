"""The configurations for a GPU in a server whose backend `tensorrt` runs ONNX files on the CPU."""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
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
from hyperseg_serving.service.parameters import BACKEND_VARIABLE, IN_PROCESS, SERVED, THREADS_VARIABLE
from hyperseg_serving.service.requests import Request, open_image
from serving_support import same

SHIM = Path(__file__).parent / "shim"


@pytest.fixture(scope="module")
def settings(
    distribution: Distribution, repository: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> ServerSettings:
    backends = Path(shutil.copytree(distribution.backends, tmp_path_factory.mktemp("served") / "backends"))
    shutil.copytree(SHIM, backends, dirs_exist_ok=True)
    environment = {BACKEND_VARIABLE: "onnxruntime", THREADS_VARIABLE: "1"}
    return ServerSettings(
        repository, tiny_bundle, Profile.GPU, Address(0, 0, 0), environment=environment, backends=backends
    )


@pytest.fixture(scope="module")
def server(
    distribution: Distribution, settings: ServerSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """With every model, and a public one that asks those of the graphs: what its parameter is for."""
    asking = Path(shutil.copytree(settings.repository, tmp_path_factory.mktemp("asking") / "repository"))
    public = asking / "hyperseg" / "config.pbtxt"
    public.write_text(public.read_text().replace(f'"{IN_PROCESS}"', f'"{SERVED}"'))
    with Server(distribution, replace(settings, repository=asking, ensemble=True)) as started:
        started.wait_until_ready(120)
        yield started
    assert not list(SHARED_MEMORY.glob(f"{started._region}*"))


def test_one_process_holds_every_graph_unless_the_ensemble_is_asked_for(
    distribution: Distribution, settings: ServerSettings, pipeline: Pipeline, coffee_bytes: bytes
) -> None:
    """One copy of every engine, the language model's above all."""
    with Server(distribution, settings) as started:
        started.wait_until_ready(120)
        assert set(started._models.values()) == {"hyperseg", "hyperseg_video"}
        with Client(started.address.grpc_url) as client:
            (found,) = client.segment(coffee_bytes, ["the cup"])
            (frame,) = client.open_video().push(coffee_bytes, ["the cup"], last=True)
    pixels = open_image(coffee_bytes, Limits())
    assert same([found], [pipeline(pixels, "the cup")])
    (expected,) = pipeline.open_video().push(pixels, ["the cup"])
    assert same(frame.results, expected.results)


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
