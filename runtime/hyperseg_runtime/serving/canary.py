"""One small request that only a working server answers.

The server's own readiness stays true when a model's process is gone, so this is what probes must ask.
"""

import io
import time

from PIL import Image

from hyperseg_runtime.errors import ServerError
from hyperseg_runtime.serving.http_transport import HttpTransport
from hyperseg_runtime.serving.requests import Request

SIDE_PX = 32


def ask_canary(http_url: str, timeout_s: float) -> float:
    """Segment a grey square; milliseconds that took. Raises UnavailableError or ServerError."""
    picture = io.BytesIO()
    Image.new("RGB", (SIDE_PX, SIDE_PX), "grey").save(picture, "PNG")
    start = time.perf_counter()
    *_, last = HttpTransport(http_url).ask(Request(image=picture.getvalue(), texts=("the square",)), timeout_s)
    if last.result is None or len(last.result["results"]) != 1:
        raise ServerError("the canary request was answered without a mask")
    return (time.perf_counter() - start) * 1000
