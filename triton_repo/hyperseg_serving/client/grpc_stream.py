"""One gRPC stream: requests to a model one after another, each with several responses."""

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from hyperseg_runtime.errors import HypersegError, ServerError, UnavailableError
from hyperseg_serving.client import access
from hyperseg_serving.client.wire_errors import error_of
from hyperseg_serving.refusals import Code
from hyperseg_serving.service.requests import Request, Tensors, tensors_of
from hyperseg_serving.service.responses import Response, parse_response

CODES = {
    "StatusCode.INVALID_ARGUMENT": Code.INVALID_ARG,
    "StatusCode.NOT_FOUND": Code.NOT_FOUND,
    "StatusCode.UNIMPLEMENTED": Code.UNSUPPORTED,
    "StatusCode.UNAVAILABLE": Code.UNAVAILABLE,
}
FINAL = "triton_final_response"


MESSAGE_SIZES = [(f"grpc.max_{way}_message_length", grpc.MAX_GRPC_MESSAGE_SIZE) for way in ("send", "receive")]
ENDING_S = 5.0
"""How long an answer that nobody wants any more is waited for."""


def open_client(url: str) -> grpc.InferenceServerClient:
    """The library's client of grpc://HOST:PORT, or of grpcs:// with TLS, which raises as `access.authority`.

    gRPC takes what http_proxy names even to this machine's own addresses, which no proxy reaches.
    """
    parts = urlsplit(url)
    is_secure = parts.scheme == "grpcs"
    name = parts.hostname or ""
    own = [("grpc.enable_http_proxy", 0)] if name in ("localhost", "::1") or name.startswith("127.") else []
    return grpc.InferenceServerClient(
        parts.netloc,
        ssl=is_secure,
        root_certificates=access.authority() if is_secure else None,
        channel_args=[*MESSAGE_SIZES, *own],
    )


class GrpcStream:
    """`usable` is False from a request's start until its last response."""

    def __init__(self, url: str) -> None:
        self._answers: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()
        self._client = open_client(url)
        in_background(
            partial(
                self._client.start_stream,
                lambda result, error: self._answers.put((result, error)),
                headers=access.headers(),
            )
        )
        self.usable = True
        self._over = False
        """The stream itself has ended, by an error."""
        self._model = ""
        self._request = ""

    @property
    def ended(self) -> bool:
        """Whether an idle stream was ended by the other side: then an error lies there that no request asked for."""
        return not self._answers.empty()

    def ask(self, model: str, inputs: list[Any], timeout_s: float) -> Iterator[Response]:
        """See `GrpcTransport.ask`."""
        self._model, self._request = model, secrets.token_hex(16)
        self.usable = False
        self._send(inputs, self._request)
        while not self.usable:
            outputs = tensors_of_result(self._next(timeout_s))
            if outputs:
                yield parse_response(outputs)

    def _send(self, inputs: list[Any], request_id: str) -> None:
        try:
            self._client.async_stream_infer(
                self._model, inputs, request_id=request_id, enable_empty_final_response=True
            )
        except InferenceServerException as error:
            self._over = True
            raise UnavailableError(self._why_unsent(error)) from error

    def _why_unsent(self, error: InferenceServerException) -> str:
        """The library only says that the stream is over; why, it told the callback before."""
        with suppress(queue.Empty):
            _, why = self._answers.get_nowait()
            return str(translated(why or error))
        return f"the connection ended before the request was sent: {error.message()}"

    def _next(self, timeout_s: float) -> Any:
        """The next response, whichever request it is to."""
        try:
            result, error = self._answers.get(timeout=timeout_s)
        except queue.Empty as nothing:
            raise ServerError(f"no answer within {timeout_s:g} s; allow more, or ask for less") from nothing
        if error is not None:
            self._over = True
            raise translated(error)
        response = result.get_response()
        if response.id == self._request:
            self.usable = response.parameters[FINAL].bool_param
        return result

    def close(self) -> None:
        """Also ends a request under way: the model is told, and what it still says is taken in.

        gRPC's own cancelling ends release 24.10: at once after a refusal, else by a segmentation fault after some
        hundred times. It is left for a server that does not answer.
        """
        if not (self.usable or self._over):
            self._end_request()
        self._client.stop_stream(cancel_requests=not (self.usable or self._over))
        self._client.close()

    def _end_request(self) -> None:
        end_s = time.monotonic() + ENDING_S
        with suppress(HypersegError):
            self._send([input_of(*item) for item in tensors_of(Request(cancel=self._request)).items()], "cancel")
            while not self.usable:
                self._next(max(0.0, end_s - time.monotonic()))


def in_background(start: Callable[[], object]) -> None:
    """Call what starts a thread of the library's so that a program which ends does not wait for it: a new thread is a
    daemon where the one that starts it is. tritonclient's own (2.73, `_infer_stream.py`) waits for a stream that nobody
    closes, and the interpreter for it.
    """
    starter = threading.Thread(target=start, daemon=True)
    starter.start()
    starter.join()


def input_of(name: str, array: np.ndarray) -> Any:
    """A tensor as the library sends it."""
    tensor = grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def tensors_of_result(result: Any) -> Tensors:
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def translated(error: InferenceServerException) -> Exception:
    """The library's error as one of ours."""
    return error_of(error.message(), CODES.get(str(error.status()), Code.INTERNAL))
