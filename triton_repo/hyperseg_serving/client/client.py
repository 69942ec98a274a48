"""Asking a server as one asks a pipeline. The image travels as the file it is."""

import io
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from hyperseg_runtime.contracts.results import SegmentationResult, decode_rle
from hyperseg_runtime.errors import EnvironmentMissingError, ImageError, InputError, ServerError, UnavailableError
from hyperseg_serving.contract import DEFAULTS, Options
from hyperseg_serving.refusals import Reason
from hyperseg_serving.service.requests import Request
from hyperseg_serving.service.responses import Response

ImageFile = str | Path | bytes | np.ndarray
"""A file, its content, or RGB pixels (H, W, 3) uint8."""
ATTEMPTS = 4
FIRST_PAUSE_S = 0.2
TIMEOUT_S = 60.0
FORGOTTEN = (Reason.STREAM_UNKNOWN.value, "must specify the START flag")
"""What the public model says of a video it does not know, and the server itself of a sequence."""
Made = TypeVar("Made")
TRANSPORTS = {
    "http": ("http_transport", "HttpTransport"),
    "grpc": ("grpc_transport", "GrpcTransport"),
    "grpc+shm": ("shared_memory_transport", "SharedMemoryTransport"),
}
"""Scheme -> module and class; only the chosen one is imported."""


class Transport(Protocol):
    def ask(self, request: Request, timeout_s: float) -> Generator[Response, None, None]: ...

    def close(self) -> None: ...


class Client:
    """`Client("grpc://127.0.0.1:8001")`; http:// works too, without videos. grpc+shm:// hands images over in shared
    memory. Close it, or use it as a context manager.

    `timeout_s` is the longest wait for a response. A request that the server had no room for, or that found nobody
    listening, is sent again, with growing pauses; nothing else is. Methods raise InputError and its kinds for what
    was refused, ServerError where the server failed or the connection was lost, UnavailableError where there was
    no room to the end, or nobody.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._transport = open_transport(url)
        self._timeout_s = timeout_s

    def segment(self, image: ImageFile, texts: Sequence[str], options: Options = DEFAULTS) -> list[SegmentationResult]:
        """The best mask for each text."""
        return self._results(Request(image=encoded(image), texts=tuple(texts), options=options))

    def segment_classes(
        self, image: ImageFile, classes: Sequence[str], options: Options = DEFAULTS
    ) -> list[SegmentationResult]:
        """A mask for each class whose score reaches `options.min_score`, best first."""
        return self._results(Request(image=encoded(image), classes=tuple(classes), options=options))

    def ask(self, image: ImageFile | None, question: str, options: Options = DEFAULTS) -> Iterator[str]:
        """Pieces of the answer as they are made. Leaving early over gRPC ends the work."""
        request = Request(image=None if image is None else encoded(image), question=question, options=options)
        with closing(self.respond(request)) as responses:
            for response in responses:
                if response.piece is not None:
                    yield response.piece

    def open_video(self, stream: str) -> "VideoClient":
        """A video whose frames are given one after another; `stream` names it, and must be no other's."""
        return VideoClient(self._transport, stream, self._timeout_s)

    def _results(self, request: Request) -> list[SegmentationResult]:
        *_, last = self.respond(request)
        return results_of(last)

    def respond(self, request: Request) -> Generator[Response, None, None]:
        """Responses to a request of any kind. Tried again only while nothing has come, frames of a video never."""

        def begin() -> tuple[Generator[Response], Response]:
            return _begun(self._transport.ask(request, self._timeout_s))

        responses, first = begin() if request.stream else _patiently(begin)
        yield first
        yield from responses

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VideoClient:
    """Frames are never sent twice: the server may have remembered the first.

    Where the server has forgotten the video (see `Streams`, or it was started again), `segment` raises InputError
    once, because the memory of the frames before is gone; the frame given next begins anew.
    """

    def __init__(self, transport: Transport, stream: str, timeout_s: float) -> None:
        from hyperseg_serving.client.grpc_transport import GrpcTransport

        if not isinstance(transport, GrpcTransport):
            raise InputError("videos need a grpc:// address")
        self._transport = transport
        self._stream = stream
        self._timeout_s = timeout_s
        self._started = False

    def segment(self, frame: ImageFile, texts: Sequence[str], last: bool = False) -> list[SegmentationResult]:
        """Masks in the next frame; after the `last` one a new video begins."""
        request = Request(image=encoded(frame), texts=tuple(texts))
        start = not self._started
        try:
            response = self._transport.frame(request, self._timeout_s, self._stream, start, last)
        except InputError as error:
            if any(text in str(error) for text in FORGOTTEN):
                self._started = False
            raise
        self._started = not last
        return results_of(response)


def open_transport(url: str) -> Transport:
    """By the address's scheme. Raises InputError for others, EnvironmentMissingError without tritonclient."""
    parts = urlsplit(url)
    if parts.scheme not in TRANSPORTS or not parts.hostname:
        raise InputError(f"{url!r} is no address; expected SCHEME://HOST:PORT with {', '.join(TRANSPORTS)}")
    module, name = TRANSPORTS[parts.scheme]
    try:
        transport: Transport = getattr(import_module(f"hyperseg_serving.client.{module}"), name)(url)
    except ModuleNotFoundError as error:
        raise EnvironmentMissingError(
            f"{parts.scheme}:// needs {error.name}; run: pip install 'hyperseg-trt[triton]', or use http://"
        ) from error
    return transport


def encoded(image: ImageFile) -> bytes:
    """The bytes to send; pixels become a PNG. Raises ImageError for a file that cannot be read."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, np.ndarray):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        return file.getvalue()
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise ImageError(f"{image}: cannot be read ({error.strerror})") from error


def results_of(response: Response) -> list[SegmentationResult]:
    """What `SegmentationResult.to_json` made, as results again. Raises ServerError where there are none."""
    if response.result is None:
        raise ServerError("the server's answer ended without a result")
    return [_result_of(content) for content in response.result["results"]]


def _result_of(content: Mapping[str, Any]) -> SegmentationResult:
    masks = content["masks"]
    size = content["image_height_px"], content["image_width_px"]
    return SegmentationResult(
        masks=np.array([decode_rle(mask["segmentation"]) for mask in masks], bool).reshape(-1, *size),
        scores=np.array([mask["score"] for mask in masks], np.float32),
        queries=np.array([mask["query"] for mask in masks], np.int64),
        text=content["text"],
        task=content["task"],
        timings_ms=content["timings_ms"],
        evaluated=content["queries_evaluated"],
        prompt_tokens=content["prompt_tokens"],
        reused_tokens=content["reused_tokens"],
    )


def _begun(responses: Generator[Response, None, None]) -> tuple[Generator[Response], Response]:
    first = next(responses, None)
    if first is None:
        raise ServerError("the server's answer ended without a result")
    return responses, first


def _patiently(attempt: Callable[[], Made]) -> Made:
    for number in range(ATTEMPTS - 1):
        try:
            return attempt()
        except UnavailableError:
            time.sleep(FIRST_PAUSE_S * 2**number * random.uniform(0.5, 1.5))
    return attempt()
