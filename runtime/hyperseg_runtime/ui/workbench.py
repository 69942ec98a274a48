"""What one visitor of the page works on: an image or a clip, and what was found in it. Knows nothing of the page."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.contracts.requests import (
    Classes,
    Expressions,
    Question,
    Regions,
    Request,
    SegmentationRequest,
)
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap, encode_png
from hyperseg_runtime.errors import ImageError, InputError
from hyperseg_runtime.files.results import ResultFolder, input_source, refuse_own_result
from hyperseg_runtime.images.frames import open_frames, told
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.llm.answers import Answer
from hyperseg_runtime.reports.frame_pictures import frame_pictures
from hyperseg_runtime.reports.overlay import draw_best
from hyperseg_runtime.reports.overlay_video import OVERLAY_VIDEO, OverlayVideo
from hyperseg_runtime.reports.result_files import overlay_of
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline

DRAG_PX = 3
"""A pointer that moved no further was meant as a click."""
OF_CLIPS: tuple[type[Request], ...] = (Expressions, Classes)
"""Kinds of requests that can be written about a clip."""
Row = tuple[str, float | None, int]
"""What was asked or found, its score if it has one, its pixels."""


@dataclass(frozen=True)
class Found:
    """What is shown of one request: pictures as PNG, results as `run --json` writes them, the parts, the times."""

    overlay_png: bytes
    mask_png: bytes
    json: bytes
    rows: tuple[Row, ...]
    timings_ms: Mapping[str, float]


class Workbench:
    """One image at a time on a pipeline that all visitors share. Close it when the visitor has left."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._session: ImageSession | None = None
        self._pixels: np.ndarray | None = None
        self._clip: Path | None = None

    def offers(self, kind: type[Request]) -> tuple[str, ...]:
        """Tasks for this kind of request, the default first; empty where the family does not answer it."""
        return self._pipeline.family.answers(kind)

    def scores(self, kind: type[Request], task: str) -> bool:
        """Whether what a task of `offers` finds has scores, so that a least one can be asked."""
        return next(one for one in self._pipeline.family.tasks if one.request is kind and one.name == task).scored

    def why_not(self, kind: str) -> str:
        """Why the family does not answer this kind of request, or videos (VIDEO)."""
        return self._pipeline.family.lacks.get(kind, "it has no such task")

    def offers_of_clips(self, kind: type[Request]) -> tuple[str, ...]:
        """The same for what is asked about all frames of a clip."""
        return self._pipeline.family.video_answers(kind)

    @property
    def films(self) -> bool:
        """Whether texts or class lists about a clip are answered."""
        return any(self.offers_of_clips(kind) for kind in OF_CLIPS)

    def take(self, path: Path) -> np.ndarray:
        """An image, or a clip, of which the first frame is the image and `film` shows all: (H, W, 3) uint8.

        What the file is, its content says. Raises InputError for a result of this program, ImageError.
        """
        refuse_own_result(path)
        clip, pixels = None, None
        if self.films:
            with suppress(ImageError):  # a still image; or nothing, as `load_image` will say
                pixels = next(iter(open_frames(path))).pixels_hwc_u8
                clip = path
        pixels = load_image(path) if pixels is None else pixels
        session = self._pipeline.open(pixels)
        self.close()
        self._session, self._pixels, self._clip = session, pixels, clip
        return pixels

    def segment(self, request: SegmentationRequest, min_score: float = 0.0) -> Found:
        """Raises InputError where there is no image yet, for a `min_score` of what has no scores, and as
        `ImageSession.run`.
        """
        if self._session is None or self._pixels is None:
            raise InputError("there is no image yet: choose one, or drop it")
        family = self._pipeline.family
        family.require_scores(family.with_task(request), min_score)
        return _found([result.at_least(min_score) for result in self._session.run(request)], self._pixels)

    def ask(self, text: str) -> Answer:
        """A question about the image, or about nothing where there is none yet."""
        if self._session is None:
            self._session = self._pipeline.open(None)
        return self._session.ask(Question(text))

    def film(self, request: Expressions | Classes, on_frame: Callable[[int, int | None], None]) -> tuple[bytes, str]:
        """An MP4 of the clip with what each text names, or with the numbered objects of a list; and what of the clip
        was left out.

        `on_frame` is told how many frames are done, of how many if that is known. Raises InputError where there is no
        clip yet, and as the verb `video`.
        """
        clip = self._clip
        if clip is None:
            raise InputError("there is no clip yet: choose a video or an animated image, or drop it")
        frames, video, pictures = open_frames(clip), self._pipeline.open_video(), frame_pictures(request)
        with tempfile.TemporaryDirectory() as folder:
            with OverlayVideo(ResultFolder(Path(folder)), input_source(clip), frames.rate_hz) as film:
                for done, (frame, ready) in enumerate(video.over(frames, request), 1):
                    film.add(pictures.film(frame.pixels_hwc_u8, _instances(ready.results)))
                    on_frame(done, frames.count)
                film.finish()
            return (Path(folder) / OVERLAY_VIDEO).read_bytes(), told(frames.left_out)

    def close(self) -> None:
        """Give the image back."""
        if self._session is not None:
            self._session.close()
        self._session = self._pixels = self._clip = None


def texts_in(lines: str) -> tuple[str, ...]:
    """One text a line. Raises InputError for none."""
    texts = tuple(line.strip() for line in lines.splitlines() if line.strip())
    if not texts:
        raise InputError("there is no text yet: write what to segment, one text a line")
    return texts


def pointed_at(down_xy: tuple[float, float], up_xy: tuple[float, float], image_hw: tuple[int, int]) -> Regions:
    """A click is the pixel it hit; a drag is a box of whole pixels, whichever corner it began at, inside the image."""
    height, width = image_hw
    (x0, x1), (y0, y1) = (sorted(ends) for ends in zip(down_xy, up_xy, strict=True))
    if max(x1 - x0, y1 - y0) <= DRAG_PX:
        return Regions(points_xy=((_inside(x0, width - 1), _inside(y0, height - 1)),))
    edges = _inside(x0, width), _inside(y0, height), _inside(x1, width), _inside(y1, height)
    return Regions(boxes_xyxy=(edges,))


def _inside(place: float, most: int) -> int:
    return min(max(int(place), 0), most)


def _found(results: Sequence[Result], pixels: np.ndarray) -> Found:
    instances = _instances(results)
    several = len(results) > 1
    drawn = encode_png(draw_best(pixels, instances)) if several else overlay_of(results[0], pixels)
    content = [result.to_json() for result in results]
    return Found(
        overlay_png=drawn,
        mask_png=results[0].to_png(),
        json=json_bytes({"results": content} if several else content[0]),
        rows=tuple(row for result in results for row in _rows(result)),
        timings_ms=results[0].timings_ms,
    )


def _rows(result: Result) -> list[Row]:
    match result:
        case Instances():
            rows = zip(result.labels, result.scores, result.masks, strict=True)
            return [(label, float(score), int(mask.sum())) for label, score, mask in rows]
        case SemanticMap():
            areas = [(name, int((result.classes == index).sum())) for index, name in enumerate(result.asked)]
            return [(name, None, area) for name, area in areas if area]
        case PanopticMap():
            return [
                (result.asked[segment.class_index], segment.score, int((result.ids == segment.id).sum()))
                for segment in result.segments
            ]


def _instances(results: Sequence[Result]) -> list[Instances]:
    return [result for result in results if isinstance(result, Instances)]
