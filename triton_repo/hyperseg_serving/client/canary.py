"""Asking a server whether it lives, and whether it makes masks.

The server's own readiness stays true when a model's process is gone, so these are what probes must ask. Neither waits
behind requests: liveness is answered by the model's process at once, the canary takes the next turn. The ensemble and
the video model have no place of their own: they are asked when a server has started, and when somebody wants to know.
"""

import io
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from hyperseg_runtime.contracts.requests import Classes, Expressions, Regions
from hyperseg_runtime.errors import HypersegError, ServerError
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_serving.client.client import asked_family
from hyperseg_serving.client.http_transport import HttpTransport
from hyperseg_serving.contract import PointedAt, Probe
from hyperseg_serving.names import ModelNames
from hyperseg_serving.service.requests import Request
from hyperseg_serving.service.responses import Response

SIDE_PX = 32
TEXTS = ("the square",)
MIDDLE = PointedAt(points=((SIDE_PX / 2, SIDE_PX / 2),))
FRAMES: Mapping[type, Request] = {
    Expressions: Request(texts=TEXTS),
    Classes: Request(classes=("square",)),
    Regions: Request(regions=MIDDLE),
}
"""What a frame is asked, by the kind of request that a family's first task for videos answers."""
LEAST_WAIT_S = 0.1


def ask_live(http_url: str, timeout_s: float) -> dict[str, Any]:
    """What the public model's process says of itself, without any work: `identity`, `draining`, `under_way`, `limits`.

    Raises UnavailableError or ServerError where it does not answer.
    """
    transport = HttpTransport(http_url)
    left_s = _countdown(timeout_s)
    family = asked_family(transport, left_s())
    return dict(_probed(transport, family, Probe.LIVE, left_s()).result or {})


def ask_canary(http_url: str, timeout_s: float, every_path: bool = False) -> float:
    """Ask the public model for a mask; milliseconds that took. All together may take `timeout_s`.

    With `every_path` also ensemble and video, where the server has them; there others may wait before. Each request
    brings noise that nobody sent before: what the server remembers cannot stand in for a model that is gone. None
    leaves anything behind. Raises UnavailableError or ServerError with the name of the model. A video that is late is
    no error: while as many are served as may be, others wait in line.
    """
    transport = HttpTransport(http_url)
    start = time.perf_counter()
    left_s = _countdown(timeout_s)
    family = asked_family(transport, left_s())
    names = ModelNames(family)
    _expect_mask(names.public, lambda: _probed(transport, family, Probe.CANARY, left_s()))
    if every_path:
        _ask_other_paths(transport, family, left_s)
    return (time.perf_counter() - start) * 1000


def _ask_other_paths(transport: HttpTransport, family: FamilySpec, left_s: Callable[[], float]) -> None:
    names = ModelNames(family)
    if names.ensemble and family.answers(Expressions) and transport.has_model(names.ensemble, left_s()):
        _expect_mask(names.ensemble, lambda: transport.infer(str(names.ensemble), Request(noise(), TEXTS), left_s()))
    if names.video and transport.has_model(names.video, left_s()):
        frame = replace(FRAMES[family.video_tasks[0].request], image=noise())
        sequence = f"canary-{secrets.token_hex(8)}"
        try:
            _expect_mask(
                names.video,
                lambda: transport.frame(str(names.video), frame, left_s(), sequence, start=True, end=True),
            )
        except ServerError as error:
            if not isinstance(error.__cause__, TimeoutError):
                raise


def noise() -> bytes:
    """A PNG file unlike any other."""
    pixels = np.frombuffer(secrets.token_bytes(SIDE_PX * SIDE_PX * 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.reshape(SIDE_PX, SIDE_PX, 3)).save(file, "PNG")
    return file.getvalue()


def _countdown(timeout_s: float) -> Callable[[], float]:
    end_s = time.perf_counter() + timeout_s
    return lambda: max(LEAST_WAIT_S, end_s - time.perf_counter())


def _probed(transport: HttpTransport, family: FamilySpec, probe: Probe, timeout_s: float) -> Response:
    model = ModelNames(family).public
    answered = list(transport.ask(model, Request(probe=probe), timeout_s))
    if not answered:
        raise ServerError(f"{model}: the probe was answered with nothing")
    return answered[-1]


def _expect_mask(model: str, call: Callable[[], Response]) -> None:
    try:
        response = call()
    except HypersegError as error:
        raise type(error)(f"{model}: {error}") from error.__cause__
    if len(response.results()) != 1:
        raise ServerError(f"{model}: the canary request was answered without a result")
