"""Requests over HTTP with nothing but the standard library: the server's event stream for the public model."""

import base64
import http.client
import json
from collections.abc import Generator, Iterator
from contextlib import closing
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from hyperseg_runtime.errors import ServerError, UnavailableError
from hyperseg_runtime.serving import contract
from hyperseg_runtime.serving.refusals import Code
from hyperseg_runtime.serving.requests import Request, tensors_of
from hyperseg_runtime.serving.responses import Response
from hyperseg_runtime.serving.wire_errors import error_of

EVENT = b"data:"
CODES: dict[int, Code] = {
    HTTPStatus.BAD_REQUEST: Code.INVALID_ARG,
    HTTPStatus.NOT_FOUND: Code.NOT_FOUND,
    HTTPStatus.NOT_IMPLEMENTED: Code.UNSUPPORTED,
    HTTPStatus.SERVICE_UNAVAILABLE: Code.UNAVAILABLE,
}


class HttpTransport:
    """To the public model at http://HOST:PORT. A connection for each request: the server keeps none waiting."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc

    def ask(self, request: Request, timeout_s: float) -> Generator[Response, None, None]:
        """Responses as they come; `timeout_s` is the longest wait for each.

        Raises UnavailableError where nobody answers, ServerError where it takes too long, and what `error_of`
        makes of refusals.
        """
        connection = http.client.HTTPConnection(self._host, timeout=timeout_s)
        with closing(connection):
            try:
                path = f"/v2/models/{contract.PUBLIC}/generate_stream"
                connection.request("POST", path, json.dumps(_body(request)), {"Content-Type": "application/json"})
                yield from _responses(connection.getresponse())
            except TimeoutError as error:
                raise ServerError(f"no answer within {timeout_s:g} s; allow more, or ask for less") from error
            except (OSError, http.client.HTTPException) as error:
                raise UnavailableError(f"http://{self._host}: no answer ({error})") from error

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


def _responses(answer: http.client.HTTPResponse) -> Iterator[Response]:
    if answer.status != HTTPStatus.OK:
        body = answer.read()
        # A model's own error comes as an event, and with status 400 whatever its code was.
        code = Code.INTERNAL if body.startswith(EVENT) else CODES.get(answer.status, Code.INTERNAL)
        raise error_of(_content(body.removeprefix(EVENT)).get("error", f"status {answer.status}"), code)
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
