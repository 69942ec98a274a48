"""Requests over HTTP with nothing but the standard library: the server's event stream for the public model."""

import base64
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from hyperseg_runtime.serving import contract
from hyperseg_runtime.serving.requests import Request, tensors_of
from hyperseg_runtime.serving.responses import Response
from hyperseg_runtime.serving.wire_errors import ServerUnreachableError, error_of

EVENT = b"data:"


class HttpTransport:
    """`url` is http://HOST:PORT. Videos need sequences, which this form of request has not."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc

    def ask(self, request: Request, timeout_s: float) -> Iterator[Response]:
        """Responses as they come. Raises what `error_of` makes of refusals, and ServerUnreachableError."""
        connection = http.client.HTTPConnection(self._host, timeout=timeout_s)
        with closing(connection), _reachable(self._host):
            connection.request("POST", f"/v2/models/{contract.PUBLIC}/generate_stream", json.dumps(_body(request)))
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise error_of(_message(answer.read()), unavailable=answer.status == http.client.SERVICE_UNAVAILABLE)
            for line in answer:
                if line.startswith(EVENT):
                    yield _response(json.loads(line.removeprefix(EVENT)))
