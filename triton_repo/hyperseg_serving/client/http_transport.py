"""Requests over HTTP with nothing but the standard library: the server's event stream, and plain calls."""

import base64
import http.client
import json
import secrets
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from typing import Any

import numpy as np

from hyperseg_runtime.errors import ServerError, UnavailableError
from hyperseg_serving import contract
from hyperseg_serving.client import access
from hyperseg_serving.client.address import split_address
from hyperseg_serving.client.wire_errors import connection_lost, error_of
from hyperseg_serving.refusals import Code
from hyperseg_serving.service.requests import Request, bytes_tensor, tensors_of
from hyperseg_serving.service.responses import Response, parse_response

EVENT = b"data:"
CANCEL_S = 2.0
CODES: dict[int, Code] = {
    HTTPStatus.BAD_REQUEST: Code.INVALID_ARG,
    HTTPStatus.NOT_FOUND: Code.NOT_FOUND,
    HTTPStatus.NOT_IMPLEMENTED: Code.UNSUPPORTED,
}


class HttpTransport:
    """To the models at http(s)://HOST:PORT. A connection for each request: the server keeps none waiting."""

    def __init__(self, url: str) -> None:
        self._scheme, self._host = split_address(url)[:2]

    def ask(self, model: str, request: Request, timeout_s: float) -> Generator[Response, None, None]:
        """Responses as they come; `timeout_s` is the longest wait for each. Leaving early ends the work, and so does a
        response that does not come in time.

        Raises UnavailableError where nobody listens, ServerError where it takes too long or the connection is
        lost, and what `error_of` makes of refusals.
        """
        request_id = secrets.token_hex(16)
        try:
            with self._answer(f"{model}/generate_stream", timeout_s, {**_body(request), "id": request_id}) as answer:
                yield from _responses(answer)
        except BaseException as error:
            if request.probe is None and _is_left(error):
                self._cancel(model, request_id)
            raise

    def _cancel(self, model: str, request_id: str) -> None:
        """The server does not notice that a caller of HTTP leaves. Never raises: why it left is on its way to it."""
        body = _body(Request(cancel=request_id))
        with suppress(Exception), self._answer(f"{model}/generate_stream", CANCEL_S, body) as answer:
            answer.read()

    def frame(self, model: str, request: Request, timeout_s: float, stream: str, start: bool, end: bool) -> Response:
        """The response to one frame of a sequence; for small images, see `infer`."""
        flags = {"sequence_id": stream, "sequence_start": start, "sequence_end": end}
        return self.infer(model, request, timeout_s, flags)

    def has_model(self, model: str, timeout_s: float) -> bool:
        """Whether the server was given a model of this name; its process may be gone."""
        with self._answer(model, timeout_s) as answer:
            return answer.status == HTTPStatus.OK

    def infer(
        self, model: str, request: Request, timeout_s: float, parameters: Mapping[str, Any] | None = None
    ) -> Response:
        """The only response of a model. An image goes as a list of numbers, four characters for a byte."""
        inputs = [
            {"name": name, "shape": array.shape, "datatype": "UINT8", "data": array.tolist()}
            if array.dtype == np.uint8
            else {"name": name, "shape": array.shape, "datatype": "BYTES", "data": [text.decode() for text in array]}
            for name, array in tensors_of(request).items()
        ]
        with self._answer(f"{model}/infer", timeout_s, {"inputs": inputs, "parameters": parameters or {}}) as answer:
            _check_status(answer)
            outputs = _content(answer.read()).get("outputs", [])
        return parse_response({tensor["name"]: bytes_tensor(*map(str.encode, tensor["data"])) for tensor in outputs})

    @contextmanager
    def _answer(
        self, path: str, timeout_s: float, body: Mapping[str, Any] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Raises UnavailableError only where no connection came about: then nothing was sent."""
        connection = self._connection(timeout_s)
        with closing(connection):
            try:
                try:
                    connection.connect()
                except TimeoutError:
                    raise
                except OSError as error:
                    raise UnavailableError(f"{self._scheme}://{self._host}: no answer ({error})") from error
                method, content = ("GET", None) if body is None else ("POST", json.dumps(body))
                headers = {"Content-Type": "application/json", **access.headers()}
                connection.request(method, f"/v2/models/{path}", content, headers)
                yield connection.getresponse()
            except TimeoutError as error:
                raise ServerError(f"no answer within {timeout_s:g} s; allow more, or ask for less") from error
            except (OSError, http.client.HTTPException) as error:
                raise connection_lost(str(error)) from error

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._scheme == "https":
            return http.client.HTTPSConnection(self._host, timeout=timeout_s, context=access.tls_context())
        return http.client.HTTPConnection(self._host, timeout=timeout_s)

    def close(self) -> None:
        """Nothing is kept open."""


def _body(request: Request) -> dict[str, Any]:
    """JSON has no bytes: the image goes as base64."""
    body: dict[str, Any] = {}
    for name, array in tensors_of(request).items():
        if name == contract.IMAGE.name:
            body[contract.IMAGE_BASE64.name] = base64.b64encode(array.tobytes()).decode()
        else:
            body[name] = [element.decode() for element in array]
    return body


def _is_left(error: BaseException) -> bool:
    """Whether this ends the wait for an answer that the server may still work on: it is late, the caller went away, or
    was interrupted.
    """
    return isinstance(error.__cause__, TimeoutError) or not isinstance(error, Exception)


def _check_status(answer: http.client.HTTPResponse) -> None:
    if answer.status != HTTPStatus.OK:
        body = answer.read()
        # A model's own error comes as an event, and with status 400 whatever its code was.
        code = Code.INTERNAL if body.startswith(EVENT) else CODES.get(answer.status, Code.INTERNAL)
        raise error_of(_content(body.removeprefix(EVENT)).get("error", f"status {answer.status}"), code)


def _responses(answer: http.client.HTTPResponse) -> Iterator[Response]:
    _check_status(answer)
    for line in answer:
        if line.startswith(EVENT):
            content = _content(line.removeprefix(EVENT))
            if "error" in content:
                raise error_of(content["error"], Code.INTERNAL)
            piece, result = content.get(contract.PIECE.name), content.get(contract.RESULT.name)
            yield Response(piece, None if result is None else json.loads(result))


def _content(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError as error:
        raise ServerError(f"the answer is not JSON: {data[:100]!r}; is this a Triton server?") from error
    return content if isinstance(content, dict) else {}
