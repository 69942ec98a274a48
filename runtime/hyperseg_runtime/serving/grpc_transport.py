"""Requests over gRPC: streams, sequences, shared memory, deadlines that cancel the work."""

import queue
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from hyperseg_runtime.errors import ServerError
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

    def ask(self, request: Request, timeout_s: float) -> Generator[Response, None, None]:
        """Responses of the public model as they come. Leaving early cancels the work.

        `timeout_s` is the longest wait for each. Raises UnavailableError where nobody answers, ServerError where
        it takes too long, and what `error_of` makes of refusals.
        """
        answers: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()
        # Several requests may be under way, and a client has one stream: each takes a client of its own.
        client = grpc.InferenceServerClient(self._url)
        with closing(client), self.inputs(request) as inputs:
            client.start_stream(lambda result, error: answers.put((result, error)))
            client.async_stream_infer(contract.PUBLIC, inputs, enable_empty_final_response=True)
            try:
                yield from _until_final(answers, timeout_s)
            except GeneratorExit:
                client.stop_stream(cancel_requests=True)
                raise

    def frame(self, request: Request, timeout_s: float, stream: str, start: bool, end: bool) -> Response:
        """The response to one frame of a sequence."""
        flags = {"sequence_id": stream, "sequence_start": start, "sequence_end": end}
        return self._infer(contract.VIDEO, request, timeout_s, **flags)

    def refer(self, request: Request, timeout_s: float) -> Response:
        """The response of the ensemble, which takes an image and texts."""
        return self._infer(contract.REFERRING, request, timeout_s)

    def _infer(self, model: str, request: Request, timeout_s: float, **flags: Any) -> Response:
        with self.inputs(request) as inputs, explained():
            result = self._client.infer(model, inputs, client_timeout=timeout_s, **flags)
        return parse_response(_tensors(result))

    @contextmanager
    def inputs(self, request: Request) -> Iterator[list[Any]]:
        """A request's tensors, for as long as the server works on them."""
        yield [input_of(name, array) for name, array in tensors_of(request).items()]

    def close(self) -> None:
        self._client.close()


def _until_final(answers: "queue.Queue[Any]", timeout_s: float) -> Iterator[Response]:
    while True:
        try:
            result, error = answers.get(timeout=timeout_s)
        except queue.Empty as nothing:
            raise ServerError(f"no answer within {timeout_s:g} s; allow more, or ask for less") from nothing
        if error is not None:
            raise _error_of(error)
        tensors = _tensors(result)
        if tensors:
            yield parse_response(tensors)
        if result.get_response().parameters[FINAL].bool_param:
            return


def _tensors(result: Any) -> Tensors:
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def input_of(name: str, array: np.ndarray) -> Any:
    tensor = grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def _error_of(error: InferenceServerException) -> Exception:
    return error_of(error.message(), CODES.get(str(error.status()), Code.INTERNAL))


@contextmanager
def explained() -> Iterator[None]:
    """Turn the library's errors into ours."""
    try:
        yield
    except InferenceServerException as error:
        raise _error_of(error) from error
