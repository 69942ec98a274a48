"""Asking a server as one asks a pipeline. The image travels as the file it is."""

import base64
import io
import random
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np
from PIL import Image

from hyperseg_runtime.contracts.requests import Classes, Regions
from hyperseg_runtime.contracts.results import Result, encode_png
from hyperseg_runtime.errors import EnvironmentMissingError, ImageError, InputError, ServerError, UnavailableError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import VIDEO, FamilySpec, FrameResults
from hyperseg_runtime.images.reading import load_image
from hyperseg_serving.client.address import split_address
from hyperseg_serving.client.results import frames_of, results_of, stream_of
from hyperseg_serving.contract import DEFAULTS, Options, PointedAt
from hyperseg_serving.names import ModelNames, served_family
from hyperseg_serving.refusals import Reason
from hyperseg_serving.service.requests import Request
from hyperseg_serving.service.responses import Response

if TYPE_CHECKING:
    from hyperseg_serving.client.grpc_transport import GrpcTransport

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
    "https": ("http_transport", "HttpTransport"),
    "grpc": ("grpc_transport", "GrpcTransport"),
    "grpcs": ("grpc_transport", "GrpcTransport"),
    "grpc+shm": ("shared_memory_transport", "SharedMemoryTransport"),
}
"""Scheme -> module and class; only the chosen one is imported."""


class Transport(Protocol):
    def ask(self, model: str, request: Request, timeout_s: float) -> Generator[Response, None, None]: ...

    def has_model(self, model: str, timeout_s: float) -> bool: ...

    def close(self) -> None: ...


class Client:
    """`Client("grpc://127.0.0.1:8001")`; http:// works too, without videos; grpcs:// and https:// with TLS. grpc+shm://
    hands images over in shared memory. Close it, or use it as a context manager.

    `timeout_s` is the longest wait for a response. `family` names the family that is served; without it the server is
    asked once. A request that the server had no room for, or that found nobody listening, is sent again, with growing
    pauses; nothing else is. Methods raise InputError and its kinds for what was refused, such as a kind of request
    that the family does not answer, ServerError where the server failed or the connection was lost, UnavailableError
    where there was no room to the end, or nobody.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, family: str | None = None) -> None:
        self._transport = open_transport(url)
        self._timeout_s = timeout_s
        self._family = None if family is None else named_family(family)

    @property
    def family(self) -> FamilySpec:
        """The family that is served. Raises ServerError where the server has none that this program knows."""
        if self._family is None:
            self._family = asked_family(self._transport, self._timeout_s)
        return self._family

    def segment(self, image: ImageFile, texts: Sequence[str], options: Options = DEFAULTS) -> list[Result]:
        """A result for each text, such as its masks, best first."""
        return self._results(Request(image=encoded(image), texts=tuple(texts), options=options))

    def segment_classes(self, image: ImageFile, classes: Sequence[str], options: Options = DEFAULTS) -> Result:
        """Whatever belongs to one of the classes: instances from `options.min_score` on, best first, or a map, of which
        a panoptic one is without the segments below it.
        """
        (found,) = self._results(Request(image=encoded(image), classes=tuple(classes), options=options))
        return found

    def segment_regions(self, image: ImageFile, regions: Regions, options: Options = DEFAULTS) -> list[Result]:
        """A result for each region, such as its masks, best first. `regions.task` and `seed` do not travel."""
        return self._results(Request(image=encoded(image), regions=pointed_at(regions), options=options))

    def ask(self, image: ImageFile | None, question: str, options: Options = DEFAULTS) -> Iterator[str]:
        """Pieces of the answer as they are made. Leaving early ends the work."""
        request = Request(image=None if image is None else encoded(image), question=question, options=options)
        with closing(self.respond(request)) as responses:
            for response in responses:
                if response.piece is not None:
                    yield response.piece

    def open_video(self) -> "VideoClient":
        """A video whose frames are given one after another.

        Raises InputError where the family sees no videos, and for an address that is none of gRPC.
        """
        from hyperseg_serving.client.grpc_transport import GrpcTransport

        if not isinstance(self._transport, GrpcTransport):
            raise InputError("videos need a grpc:// address")
        model = ModelNames(self.family).video
        if model is None:
            raise InputError(f"{self.family.title} does not segment videos: {self.family.lacks[VIDEO]}")
        return VideoClient(self._transport, model, self._timeout_s)

    def _results(self, request: Request) -> list[Result]:
        *_, last = self.respond(request)
        return results_of(last)

    def respond(self, request: Request) -> Generator[Response, None, None]:
        """Responses to a request of any kind. Tried again only while nothing has come, frames of a video never."""

        def begin() -> tuple[Generator[Response], Response]:
            return _begun(self._transport.ask(ModelNames(self.family).public, request, self._timeout_s))

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

    Where the server has forgotten the video (see `Streams`, or it was started again), `push` raises InputError
    once, because the memory of the frames before is gone; the frame given next begins anew.
    """

    def __init__(self, transport: "GrpcTransport", model: str, timeout_s: float) -> None:
        self._transport = transport
        self._model = model
        self._timeout_s = timeout_s
        self._sequence = secrets.token_hex(16)
        """Kept when a video begins anew: as another sequence it would wait for the first to be forgotten."""
        self._stream: str | None = None
        """What the server calls the video that has begun: nobody else can know it."""

    def push(
        self,
        frame: ImageFile,
        asked: Sequence[str] | Classes | Regions,
        last: bool = False,
        options: Options = DEFAULTS,
    ) -> list[FrameResults]:
        """Give the next frame and what is asked of it: texts, a class list, or regions with the first frame and empty
        ones with the others. Gives the results that are ready, of this frame or of earlier ones, and with the `last`
        frame all that are missing. After it a new video begins. Of a class list names and thing flags travel; one with
        synonyms is refused.
        """
        start = self._stream is None
        asking = _asking(asked, options.model_copy(update={"stream": self._stream}))
        request = replace(asking, image=encoded(frame))
        try:
            response = self._transport.frame(self._model, request, self._timeout_s, self._sequence, start, last)
        except InputError as error:
            if any(text in str(error) for text in FORGOTTEN):
                self._stream = None
            raise
        self._stream = None if last else stream_of(response)
        return frames_of(response)


def _asking(asked: Sequence[str] | Classes | Regions, options: Options) -> Request:
    """Of a frame, still without its image. Raises InputError for synonyms."""
    match asked:
        case Regions():
            return Request(regions=pointed_at(asked), options=options)
        case Classes(synonyms=synonyms) if any(synonyms):
            raise InputError("a server takes class names without synonyms; leave them out")
        case Classes(names=names, things=things):
            return Request(classes=names, options=options.model_copy(update={"things": things}))
        case _:
            return Request(texts=tuple(asked), options=options)


def pointed_at(regions: Regions) -> PointedAt | None:
    """As they travel; None for none."""
    scribbles, masks = (
        tuple(base64.b64encode(encode_png(marked)).decode() for marked in pictures)
        for pictures in (regions.scribbles, regions.masks)
    )
    found = PointedAt(points=regions.points_xy, boxes=regions.boxes_xyxy, scribbles=scribbles, masks=masks)
    return found if found.count else None


def named_family(name: str) -> FamilySpec:
    """Raises InputError for an unknown one."""
    if name not in FAMILIES:
        raise InputError(f"unknown family {name!r}; known are {', '.join(FAMILIES)}")
    return FAMILIES[name]


def asked_family(transport: Transport, timeout_s: float) -> FamilySpec:
    """Which family a server has models of. Raises ServerError where it is none that this program knows."""
    family = served_family(lambda model: transport.has_model(model, timeout_s))
    if family is None:
        raise ServerError(f"the server has no model of the families known here, {', '.join(FAMILIES)}")
    return family


def open_transport(url: str) -> Transport:
    """By the address's scheme. Raises InputError for others and for what is no address, EnvironmentMissingError without
    tritonclient.
    """
    scheme = split_address(url).scheme
    if scheme not in TRANSPORTS:
        raise InputError(f"{url!r} is no address; expected SCHEME://HOST:PORT with {', '.join(TRANSPORTS)}")
    module, name = TRANSPORTS[scheme]
    try:
        transport: Transport = getattr(import_module(f"hyperseg_serving.client.{module}"), name)(url)
    except ModuleNotFoundError as error:
        raise EnvironmentMissingError(
            f"{scheme}:// needs {error.name}; run: pip install 'hyperseg-trt[triton]', or use http://"
        ) from error
    return transport


def encoded(image: ImageFile) -> bytes:
    """The bytes to send; pixels become a PNG. Raises ImageError for a file that cannot be read, and for an array that
    `load_image` does not take.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, np.ndarray):
        file = io.BytesIO()
        Image.fromarray(load_image(image)).save(file, "PNG")
        return file.getvalue()
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise ImageError(f"{image}: cannot be read ({error.strerror})") from error


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
