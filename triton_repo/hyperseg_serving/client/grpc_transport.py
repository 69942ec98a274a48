"""Requests over gRPC: answers in pieces, sequences, plain calls. Leaving early ends the work."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tritonclient.utils import InferenceServerException

from hyperseg_serving.client import access
from hyperseg_serving.client.grpc_stream import GrpcStream, input_of, open_client, tensors_of_result, translated
from hyperseg_serving.service.requests import Request, tensors_of
from hyperseg_serving.service.responses import Response, parse_response

NOT_FOUND = "StatusCode.NOT_FOUND"


class GrpcTransport:
    """To the models at grpc(s)://HOST:PORT, from any thread. Close it, or the server waits for it when it stops."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.host = urlsplit(url).netloc
        self._client = open_client(url)
        self._idle: list[GrpcStream] = []

    def ask(self, model: str, request: Request, timeout_s: float) -> Generator[Response, None, None]:
        """Responses of a model as they come. Leaving early cancels the work.

        `timeout_s` is the longest wait for each. Raises UnavailableError where nobody answers, ServerError where
        it takes too long, and what `error_of` makes of refusals.
        """
        with self.inputs(request) as inputs, self._stream() as stream:
            yield from stream.ask(model, inputs, timeout_s)

    @contextmanager
    def _stream(self) -> Iterator[GrpcStream]:
        """A stream for one request alone; opening one takes longer than a small request."""
        stream = self._idle_stream() or GrpcStream(self._url)
        try:
            yield stream
        finally:
            if stream.usable:
                self._idle.append(stream)
            else:
                stream.close()

    def _idle_stream(self) -> GrpcStream | None:
        """One that is still open: servers and gateways end what was idle for long, or when they are started again."""
        while True:
            try:
                stream = self._idle.pop()
            except IndexError:
                return None
            if not stream.ended:
                return stream
            stream.close()

    def frame(self, model: str, request: Request, timeout_s: float, stream: str, start: bool, end: bool) -> Response:
        """The response to one frame of a sequence, which is not begun after `timeout_s`."""
        flags = {"sequence_id": stream, "sequence_start": start, "sequence_end": end, "timeout": int(timeout_s * 1e6)}
        return self.infer(model, request, timeout_s, **flags)

    def infer(self, model: str, request: Request, timeout_s: float, **flags: Any) -> Response:
        """The only response of a model, such as the ensemble, which takes an image and texts."""
        with self.inputs(request) as inputs, explained():
            result = self._client.infer(model, inputs, client_timeout=timeout_s, headers=access.headers(), **flags)
        return parse_response(tensors_of_result(result))

    def has_model(self, model: str, timeout_s: float) -> bool:
        """Whether the server was given a model of this name; its process may be gone."""
        try:
            self._client.get_model_metadata(model, client_timeout=timeout_s, headers=access.headers())
        except InferenceServerException as error:
            if error.status() == NOT_FOUND:
                return False
            raise translated(error) from error
        return True

    @contextmanager
    def inputs(self, request: Request) -> Iterator[list[Any]]:
        """A request's tensors, for as long as the server works on them."""
        yield [input_of(name, array) for name, array in tensors_of(request).items()]

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        self._client.close()


@contextmanager
def explained() -> Iterator[None]:
    """Turn the library's errors into ours."""
    try:
        yield
    except InferenceServerException as error:
        raise translated(error) from error
