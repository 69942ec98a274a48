"""Asking a running server in ways that our client does not, and comparing what comes back."""

import http.client
import json
import queue
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from hyperseg_runtime.contracts.results import Instances, Result
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.client.client import Client
from hyperseg_serving.client.grpc_transport import GrpcTransport
from hyperseg_serving.contract import Limits, Profile
from hyperseg_serving.names import ModelNames
from hyperseg_serving.repository.writer import bundle_spec, write_repository
from hyperseg_serving.server.command import Address, ServerSettings
from hyperseg_serving.server.distribution import Distribution
from hyperseg_serving.server.process import Server
from hyperseg_serving.server.trial import ServeUp
from hyperseg_serving.service.parameters import THREADS_VARIABLE

LIMITS = Limits(workers=2, max_queue=8, max_streams=3)
"""Of the server in `serving/served`: small enough to be reached."""
READY_S = 120


@dataclass(frozen=True)
class Running:
    """A family's server, a client of it, and the same bundle in process."""

    family: FamilySpec
    server: Server
    client: Client
    pipeline: Pipeline


@contextmanager
def running_server(bundle: Path, repository: Path, distribution: Distribution) -> Iterator[Running]:
    """On the CPU profile, with every limit as it is by default."""
    write_repository(repository, *bundle_spec(bundle))
    environment = {THREADS_VARIABLE: "1"}
    settings = ServerSettings(repository, bundle, Profile.CPU, Address(0, 0, 0), environment=environment)
    with Server(distribution, settings) as server, Pipeline.load(bundle, threads=1) as pipeline:
        server.wait_until_ready(READY_S)
        with Client(server.address.grpc_url) as client:
            yield Running(pipeline.family, server, client, pipeline)


def same(found: Sequence[Result], expected: Sequence[Result]) -> bool:
    """Equal but for the times they took and for what was reused."""
    return len(found) == len(expected) and all(map(_same, found, expected))


def _same(a: Result, b: Result) -> bool:
    assert isinstance(a, Instances) and isinstance(b, Instances)
    return (
        (a.asked, a.task, a.labels, a.instance_details) == (b.asked, b.task, b.labels, b.instance_details)
        and np.array_equal(a.masks, b.masks)
        and np.allclose(a.scores, b.scores, rtol=0, atol=1e-4)
    )


def stream_of(client: Client, tensors: dict[str, np.ndarray]) -> list[Any]:
    """Responses to tensors of one's own making."""
    transport = client._transport
    assert isinstance(transport, GrpcTransport)
    return ask_raw(f"grpc://{transport.host}", ModelNames(client.family).public, tensors)


WIRE_KINDS = {"O": "BYTES", "f": "FP32", "u": "UINT8", "i": "INT64"}


def ask_raw(url: str, model: str, tensors: dict[str, Any], wrong_bytes: bytes | None = None) -> list[Any]:
    """Send any tensors, TEXT's content replaced by `wrong_bytes`; raise what comes back as an error."""
    inputs = []
    for name, array in tensors.items():
        tensor = grpc.InferInput(name, list(array.shape), WIRE_KINDS[array.dtype.kind])
        tensor.set_data_from_numpy(array)
        if wrong_bytes is not None and name == "TEXT":
            tensor._raw_content = wrong_bytes
        inputs.append(tensor)
    answers: queue.Queue[Any] = queue.Queue()
    asker = grpc.InferenceServerClient(url.removeprefix("grpc://"))
    try:
        asker.start_stream(lambda result, error: answers.put(error or result))
        asker.async_stream_infer(model, inputs)
        answer = answers.get(timeout=20)
    finally:
        asker.close()
    if isinstance(answer, InferenceServerException):
        raise answer
    return [answer]


def post(url: str, model: str, content: Any) -> tuple[int, str]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request("POST", f"/v2/models/{model}/generate_stream", json.dumps(content))
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def metric(served: ServeUp, line: str) -> float:
    with urllib.request.urlopen(served.metrics) as page:
        lines = page.read().decode().splitlines()
    return sum(float(found.rpartition(" ")[2]) for found in lines if found.startswith(line))
