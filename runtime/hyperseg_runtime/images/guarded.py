"""An encoded image in memory that takes no longer to read than files of its size do.

Decoders walk through a file part by part, and some parts may be empty: of 20 MB of empty PNG chunks, JPEG segments or
fill bytes Pillow 13 reads the size in 10 to 20 s (libwebp 1.5 in 2 s), and all of that before the first pixel.
"""

import io
import struct

from hyperseg_runtime.calls.stopping import may_go_on
from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.images.metadata import RIFF, WEBP_HEAD_BYTES

HEADER_READS = 3_000
"""For a header: cameras write some hundred segments. Pillow reads three times for each."""
BYTES_OF_A_READ = 512
"""Of pixels, on average; encoders write parts of 8 kB and more."""
WEBP_PARTS = 10_000
"""libwebp takes a file in one piece and walks through it by itself; an animation has a part for each frame."""


class GuardedFile(io.BytesIO):
    """Raises ImageError for a file of more parts than its size calls for, and can be stopped (`calls.stopping`)."""

    def __init__(self, data: bytes, header_alone: bool = False) -> None:
        super().__init__(data)
        self._left = HEADER_READS + (0 if header_alone else len(data) // BYTES_OF_A_READ)
        if data.startswith(RIFF):
            _require_few_parts(data)

    def read(self, size: int | None = -1, /) -> bytes:
        may_go_on()
        self._left -= 1
        if self._left < 0:
            raise _too_many_parts()
        return super().read(size)


def _require_few_parts(data: bytes) -> None:
    at, parts = WEBP_HEAD_BYTES, 0
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        at += 8 if data.startswith(b"ANMF", at) else 8 + size + size % 2
        parts += 1
        if parts > WEBP_PARTS:
            raise _too_many_parts()


def _too_many_parts() -> ImageError:
    return ImageError("the image: its file has more parts than any of its size needs; save it anew")
