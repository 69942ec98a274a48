"""One gRPC stream: requests to a model one after another, each with several responses."""

import queue
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from hyperseg_runtime.errors import ServerError, UnavailableError
from hyperseg_serving.client import access
from hyperseg_serving.client.wire_errors import error_of
from hyperseg_serving.refusals import Code
from hyperseg_serving.service.requests import Tensors
from hyperseg_serving.service.responses import Response, parse_response

CODES = {
    "StatusCode.INVALID_ARGUMENT": Code.INVALID_ARG,
    "StatusCode.NOT_FOUND": Code.NOT_FOUND,
    "StatusCode.UNIMPLEMENTED": Code.UNSUPPORTED,
    "StatusCode.UNAVAILABLE": Code.UNAVAILABLE,
}
FINAL = "triton_final_response"


class GrpcStream:
    """`usable` is False from a request's start until its last response."""

    def __init__(self, url: str) -> None:
        self._answers: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()
        self._client = open_client(url)
        self._client.start_stream(lambda result, error: self._answers.put((result, error)), headers=access.headers())
        self.usable = True
        self._refused = False

    @property
    def ended(self) -> bool:
        """Whether an idle stream was ended by the other side: then an error lies there that no request asked for."""
        return not self._answers.empty()

    def ask(self, model: str, inputs: list[Any], timeout_s: float) -> Iterator[Response]:
        """See `GrpcTransport.ask`."""
        self.usable = False
        try:
            self._client.async_stream_infer(model, inputs, enable_empty_final_response=True)
        except InferenceServerException as error:
            raise UnavailableError(f"the connection ended before the request was sent: {error.message()}") from error
        while not self.usable:
            response = self._next(timeout_s)
            outputs = tensors_of_result(response)
            self.usable = response.get_response().parameters[FINAL].bool_param
            if outputs:
                yield parse_response(outputs)

    def _next(self, timeout_s: float) -> Any:
        try:
            result, error = self._answers.get(timeout=timeout_s)
        except queue.Empty as nothing:
            raise ServerError(f"no answer within {timeout_s:g} s; allow more, or ask for less") from nothing
        if error is not None:
            self._refused = True
            raise translated(error)
        return result

    def close(self) -> None:
        """Also ends a request under way. One that was refused is over: cancelling it then ends release 24.10."""
        self._client.stop_stream(cancel_requests=not (self.usable or self._refused))
        self._client.close()


def open_client(url: str) -> Any:
    """The library's client of grpc://HOST:PORT, or of grpcs:// with TLS."""
    parts = urlsplit(url)
    return grpc.InferenceServerClient(parts.netloc, ssl=parts.scheme == "grpcs", root_certificates=access.authority())


def tensors_of_result(result: Any) -> Tensors:
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def translated(error: InferenceServerException) -> Exception:
    """The library's error as one of ours."""
    return error_of(error.message(), CODES.get(str(error.status()), Code.INTERNAL))
