"""Asking a running server in ways that our client does not, and comparing what comes back."""

import http.client
import json
import queue
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from hyperseg_runtime.contracts.results import SegmentationResult
from hyperseg_serving.client.client import Client
from hyperseg_serving.client.grpc_transport import GrpcTransport


@dataclass(frozen=True)
class Served:
    process: psutil.Popen
    http: str
    grpc: str
    metrics: str
    bundle: Path
    log: Path


def same(found: list[SegmentationResult], expected: list[SegmentationResult]) -> bool:
    pairs = list(zip(found, expected, strict=True))
    return all(
        np.array_equal(a.masks, b.masks) and a.text == b.text and np.array_equal(a.queries, b.queries) for a, b in pairs
    )


def stream_of(client: Client, tensors: dict[str, np.ndarray]) -> list[Any]:
    """Responses to tensors of one's own making."""
    transport = client._transport
    assert isinstance(transport, GrpcTransport)
    return ask_raw(f"grpc://{transport.host}", "hyperseg", tensors)


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


def post(url: str, content: Any) -> tuple[int, str]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request("POST", "/v2/models/hyperseg/generate_stream", json.dumps(content))
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def metric(served: Served, line: str) -> float:
    with urllib.request.urlopen(served.metrics) as page:
        lines = page.read().decode().splitlines()
    return sum(float(found.rpartition(" ")[2]) for found in lines if found.startswith(line))
