"""What is drawn of a video's frame: masks of what was named or pointed at, or objects that are numbered through all."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import TRACK, Instances
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import VideoRequest
from hyperseg_runtime.files.results import Kind
from hyperseg_runtime.reports.overlay import draw_best, draw_list, draw_overlay

MOST = np.iinfo(np.uint16).max
"""Objects that fit into a picture of 16 bits; 0 is none of them."""
Drawn = tuple[Kind, int | None, np.ndarray]
"""The kind of a picture, its number where a frame has several of the kind, and its pixels."""


class FramePictures(Protocol):
    """`image` is the frame, (H, W, 3) uint8."""

    def files(self, image: np.ndarray, results: Sequence[Instances], kinds: Iterable[Kind]) -> Iterator[Drawn]:
        """The pictures to write, of masks and overlays."""
        ...

    def film(self, image: np.ndarray, results: Sequence[Instances]) -> np.ndarray:
        """The frame of the film of all, (H, W, 3) uint8."""
        ...


class NamedPictures:
    """Each result is about one thing: its best mask, (H, W) bool."""

    def files(self, image: np.ndarray, results: Sequence[Instances], kinds: Iterable[Kind]) -> Iterator[Drawn]:
        wanted = tuple(kinds)
        for number, result in enumerate(results, 1):
            for kind in wanted:
                drawn = result.mask if kind is Kind.MASK else draw_overlay(image, result.mask)
                yield kind, number if len(results) > 1 else None, drawn

    def film(self, image: np.ndarray, results: Sequence[Instances]) -> np.ndarray:
        return draw_best(image, results)


class TrackedPictures:
    """One result holds all objects: the mask picture has their numbers, the overlay their names with them."""

    def files(self, image: np.ndarray, results: Sequence[Instances], kinds: Iterable[Kind]) -> Iterator[Drawn]:
        (result,) = results
        for kind in kinds:
            yield kind, None, track_map(result) if kind is Kind.MASK else self.film(image, results)

    def film(self, image: np.ndarray, results: Sequence[Instances]) -> np.ndarray:
        (result,) = results
        return draw_list(image, with_numbers(result))


def frame_pictures(request: VideoRequest) -> FramePictures:
    """Of the results of this request."""
    return TrackedPictures() if isinstance(request, Classes) else NamedPictures()


def track_map(result: Instances) -> np.ndarray:
    """Number of the object each pixel belongs to, (H, W) uint16, 0 for none; where masks overlap the best score's.

    Raises InputError for a number above `MOST`.
    """
    numbers = [0, *(own[TRACK] for own in result.instance_details)]
    if max(numbers) > MOST:
        raise InputError(f"object {max(numbers)} of a video, a picture has numbers up to {MOST}; ask for fewer classes")
    found: np.ndarray = np.array(numbers, np.uint16)[result.label_map()]
    return found


def with_numbers(result: Instances) -> Instances:
    """The same under names such as "cup 3", by which an object has one colour in all frames."""
    pairs = zip(result.labels, result.instance_details, strict=True)
    return replace(result, labels=tuple(f"{label} {own[TRACK]}" for label, own in pairs))
