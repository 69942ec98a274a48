"""Small requests that only a working server answers.

The server's own readiness stays true when a model's process is gone, so this is what probes must ask. Each request
brings noise that nobody sent before: what the server remembers of an image cannot stand in for a model that is gone.
None leaves anything behind: a video of one frame takes no place among images or streams.
"""

import io
import secrets
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from hyperseg_runtime.errors import HypersegError, ServerError
from hyperseg_serving.client.http_transport import HttpTransport
from hyperseg_serving.contract import PUBLIC, REFERRING, VIDEO, StreamStep
from hyperseg_serving.service.requests import Request
from hyperseg_serving.service.responses import Response

SIDE_PX = 32
TEXTS = ("the square",)
LEAST_WAIT_S = 0.1


def ask_canary(http_url: str, timeout_s: float) -> float:
    """Ask the public model for a mask, and ensemble and video too where the server has them; milliseconds that took.

    All together may take `timeout_s`. Raises UnavailableError or ServerError with the name of the model. A video
    that is late is no error: while as many are served as may be, others wait in line.
    """
    transport = HttpTransport(http_url)
    start = time.perf_counter()
    name = f"canary-{secrets.token_hex(8)}"

    def left_s() -> float:
        return max(LEAST_WAIT_S, start + timeout_s - time.perf_counter())

    alone = Request(noise(), TEXTS, stream=StreamStep(id=name, start=True, end=True))
    _expect_mask(PUBLIC, lambda: list(transport.ask(alone, left_s()))[-1])
    if transport.has_model(REFERRING, left_s()):
        _expect_mask(REFERRING, lambda: transport.refer(Request(noise(), TEXTS), left_s()))
    if transport.has_model(VIDEO, left_s()):
        try:
            _expect_mask(VIDEO, lambda: transport.frame(Request(noise(), TEXTS), left_s(), name, True, True))
        except ServerError as error:
            if not isinstance(error.__cause__, TimeoutError):
                raise
    return (time.perf_counter() - start) * 1000


def noise() -> bytes:
    """A PNG file unlike any other."""
    pixels = np.frombuffer(secrets.token_bytes(SIDE_PX * SIDE_PX * 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.reshape(SIDE_PX, SIDE_PX, 3)).save(file, "PNG")
    return file.getvalue()


def _expect_mask(model: str, call: Callable[[], Response]) -> None:
    try:
        response = call()
    except HypersegError as error:
        raise type(error)(f"{model}: {error}") from error.__cause__
    if response.result is None or len(response.result["results"]) != 1:
        raise ServerError(f"{model}: the canary request was answered without a mask")
