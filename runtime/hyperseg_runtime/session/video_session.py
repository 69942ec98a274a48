"""One video, frame after frame."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from threading import Lock

from hyperseg_runtime.calls.timing import recorded
from hyperseg_runtime.contracts.requests import Expressions, Regions
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import FrameResults, VideoRequest, VideoState
from hyperseg_runtime.images.ahead import read_ahead
from hyperseg_runtime.images.frames import Frame, Frames
from hyperseg_runtime.images.reading import MAX_PIXELS, ImageSource, load_image
from hyperseg_runtime.session.image_session import Shared


class VideoSession:
    """Frames go in one after another, results come out when they are ready, in the order of the frames.

    Made by `Pipeline.open_video`. A causal family gives a frame's results when it is pushed; one that looks at a window
    of frames gives those of earlier frames, and the rest at the end. A frame that fails leaves the session as it was.
    Several sessions may take turns on one pipeline.
    """

    def __init__(self, shared: Shared, max_pixels: int = MAX_PIXELS) -> None:
        self._shared = shared
        self._max_pixels = max_pixels
        self._alone = Lock()
        with shared.turn.held():
            self._state: VideoState = shared.model.open_video()

    def push(self, frame: ImageSource, request: VideoRequest | Sequence[str]) -> list[FrameResults]:
        """Take the next frame; `request` (or its texts) is what is asked of it. Regions go with the first frame, empty
        ones with those that follow; a class list goes with each.

        The `timings_ms` of all results are those of this call. Raises ImageError, InputError and PromptError.
        """
        asked = request if isinstance(request, VideoRequest) else Expressions.of(request)
        asked = self._shared.family.with_video_task(asked)
        pixels = load_image(frame, self._max_pixels)
        with self._alone, self._shared.turn.held(), recorded() as spans_ms:
            self._require_open()
            found = self._state.push(pixels, asked)
        return [_timed(ready, spans_ms) for ready in found]

    def over(
        self, frames: Iterable[Frame], request: VideoRequest | Sequence[str]
    ) -> Iterator[tuple[Frame, FrameResults]]:
        """Every frame of a whole video with its results, as soon as they are ready; the next one is read meanwhile.
        Regions are those of its first frame: of `Frames` whose first one cannot be read they are refused (ImageError).
        Raises as `push`.
        """
        if isinstance(request, Regions) and isinstance(frames, Frames):
            frames = frames.from_the_first()
        waiting: deque[Frame] = deque()
        for frame in read_ahead(frames):
            waiting.append(frame)
            for ready in self.push(frame.pixels_hwc_u8, request):
                yield waiting.popleft(), ready
            request = Regions(task=request.task) if isinstance(request, Regions) else request
        for ready in self.finish():
            yield waiting.popleft(), ready

    def finish(self) -> list[FrameResults]:
        """The video has ended: the results that are still missing. The next frame is the first of another video."""
        with self._alone, self._shared.turn.held(), recorded() as spans_ms:
            self._require_open()
            found = self._state.finish()
            self._state = self._shared.model.open_video()
        return [_timed(ready, spans_ms) for ready in found]

    def _require_open(self) -> None:
        if self._shared.closed:
            raise InputError("the pipeline of this video is closed; load the bundle again")


def _timed(found: FrameResults, spans_ms: dict[str, float]) -> FrameResults:
    return replace(found, results=tuple(result.timed(spans_ms) for result in found.results))
