"""Requests over gRPC: streams, sequences, shared memory, deadlines that cancel the work."""

import queue
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from hyperseg_runtime.errors import ServerError, UnavailableError
from hyperseg_runtime.serving import contract
from hyperseg_runtime.serving.refusals import Code
from hyperseg_runtime.serving.requests import Request, Tensors, tensors_of
from hyperseg_runtime.serving.responses import Response, parse_response
from hyperseg_runtime.serving.wire_errors import error_of

CODES = {
    "StatusCode.INVALID_ARGUMENT": Code.INVALID_ARG,
    "StatusCode.NOT_FOUND": Code.NOT_FOUND,
    "StatusCode.UNIMPLEMENTED": Code.UNSUPPORTED,
    "StatusCode.UNAVAILABLE": Code.UNAVAILABLE,
}
FINAL = "triton_final_response"


class GrpcTransport:
    """To the models at grpc://HOST:PORT. Close it, or the server waits for it when it stops."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url).netloc
        self._client = grpc.InferenceServerClient(self._url)

    def ask(self, request: Request, timeout_s: float) -> Iterator[Response]:
        """Responses of the public model as they come. Leaving early cancels the work.

        `timeout_s` is the longest wait for each. Raises UnavailableError where nobody answers, and what
        `error_of` makes of refusals.
        """
        answers: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()
        # Several requests may be under way, and a client has one stream: each takes a client of its own.
        client = grpc.InferenceServerClient(self._url)
        with closing(client):
            client.start_stream(lambda result, error: answers.put((result, error)))
            inputs = _inputs(tensors_of(request))
            client.async_stream_infer(contract.PUBLIC, inputs, enable_empty_final_response=True)
            try:
                yield from _until_final(answers, timeout_s)
            finally:
                client.stop_stream(cancel_requests=True)

    def frame(self, request: Request, timeout_s: float, stream: str, start: bool, end: bool) -> Response:
        """The response to one frame of a sequence."""
        return self._infer(
            contract.VIDEO, _inputs(tensors_of(request)), timeout_s,
            sequence_id=stream, sequence_start=start, sequence_end=end,
        )  # fmt: skip

    def refer(self, request: Request, timeout_s: float) -> Response:
        """The response of the ensemble, which takes an image and texts."""
        return self._infer(contract.REFERRING, _inputs(tensors_of(request)), timeout_s)

    def _infer(self, model: str, inputs: list[Any], timeout_s: float, **sequence: Any) -> Response:
        with _explained():
            result = self._client.infer(model, inputs, client_timeout=timeout_s, **sequence)
        return parse_response(_tensors(result))

    def close(self) -> None:
        self._client.close()


def _until_final(answers: "queue.Queue[Any]", timeout_s: float) -> Iterator[Response]:
    while True:
        try:
            result, error = answers.get(timeout=timeout_s)
        except queue.Empty as nothing:
            raise UnavailableError(f"no answer within {timeout_s:g} s") from nothing
        if error is not None:
            raise _error_of(error)
        tensors = _tensors(result)
        if tensors:
            yield parse_response(tensors)
        if result.get_response().parameters[FINAL].bool_param:
            return


def _tensors(result: Any) -> Tensors:
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def _inputs(tensors: Tensors) -> list[Any]:
    inputs = []
    for name, array in tensors.items():
        tensor = grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


def _error_of(error: InferenceServerException) -> Exception:
    return error_of(error.message(), CODES.get(str(error.status()), Code.INTERNAL))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except InferenceServerException as error:
        raise _error_of(error) from error
