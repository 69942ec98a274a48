"""One video, frame after frame."""

from collections.abc import Sequence
from typing import Any

from hyperseg_runtime.contracts.results import SegmentationResult
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.images.reading import MAX_PIXELS, ImageSource, load_image
from hyperseg_runtime.session.image_session import Shared
from hyperseg_runtime.timing import Stopwatch


class VideoSession:
    """Each frame is seen with what is remembered of the frames before it; there is no look-ahead.

    Made by `Pipeline.open_video`. The memory is small (0.26 MB for HyperSeg-3B), of one size however long the
    video is, and does not depend on the texts, which may differ from frame to frame. A frame that fails leaves
    it as it was. Several sessions may take turns on one pipeline.
    """

    def __init__(self, shared: Shared, max_pixels: int = MAX_PIXELS) -> None:
        self._shared = shared
        self._max_pixels = max_pixels
        self._memory: Any = None

    def segment(self, frame: ImageSource, text: str) -> SegmentationResult:
        """The best mask of what `text` names in the next frame. Raises ImageError and PromptError."""
        return self.segment_many(frame, [text])[0]

    def segment_many(self, frame: ImageSource, texts: Sequence[str]) -> list[SegmentationResult]:
        """`segment` for each text; the frame is read once. Their `timings_ms` are those of the whole call."""
        if isinstance(texts, str):
            raise InputError("segment_many takes a list of texts; for one text there is segment")
        pixels = load_image(frame, self._max_pixels)
        with self._shared.lock:
            if self._shared.closed:
                raise InputError("the pipeline of this video is closed; load the bundle again")
            results, self._memory = self._shared.model.segment_frame(pixels, texts, self._memory, Stopwatch())
        return results

    def restart(self) -> None:
        """Forget the frames so far: the next one is the first of its video."""
        self._memory = None
