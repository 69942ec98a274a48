"""Callers of the gateway in the tests: a key, honest messages, calls of bytes."""

import struct
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
from tritonclient.grpc import service_pb2

from hyperseg_runtime.contracts.results import Result
from hyperseg_serving.client.client import Client
from hyperseg_serving.contract import Limits
from hyperseg_serving.server.trial import ServeUp

KEY = "a-key-of-the-tests"
METADATA = (("authorization", f"Bearer {KEY}"),)
PUBLIC, VIDEO, ENSEMBLE = "hyperseg", "hyperseg_video", "hyperseg_referring"
INNER = ("hyperseg_preprocess", "hyperseg_masks", "hyperseg_image_encoder")
SERVICE = "/inference.GRPCInferenceService"
GRPC_ENDED = 20.0


LIMITS = Limits(workers=2, max_queue=8)
"""Of the server: few enough that tests reach them."""


@dataclass(frozen=True)
class Guarded:
    """A server behind its gateway, an honest client, and what that is answered about the cup."""

    up: ServeUp
    client: Client
    expected: list[Result]

    @property
    def server(self) -> psutil.Process:
        """The one that runs now."""
        children = psutil.Process(self.up.process.pid).children()
        return next(child for child in children if "tritonserver" in child.name())

    @property
    def http(self) -> str:
        return self.up.http.partition("//")[2]

    @property
    def grpc(self) -> str:
        return self.up.grpc.partition("//")[2]


def message(model: str = PUBLIC, **changes: Any) -> service_pb2.ModelInferRequest:
    """A small honest request, and what a test changes of it."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="TEXT", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(struct.pack("<I", 1) + b"a")
    request.MergeFrom(service_pb2.ModelInferRequest(**changes))
    return request


def called(guarded: Guarded, call: str, content: bytes, stream: bool = False, **options: Any) -> tuple[str, str]:
    """Status and what is said of a call whose message is these bytes."""
    options = {"metadata": METADATA, "timeout": GRPC_ENDED, **options}
    with grpc.insecure_channel(guarded.grpc, [("grpc.max_send_message_length", -1)]) as channel:
        try:
            if not stream:
                answer = channel.unary_unary(f"{SERVICE}/{call}")(content, **options)
                return "OK", repr(answer)
            answers = channel.stream_stream(f"{SERVICE}/{call}")(iter([content]), **options)
            return "OK", repr(b"".join(answers))
        except grpc.RpcError as error:
            return str(error.code()), str(error.details())
