"""Data sets by name. A further one is a class with `keys` and `sample`, and one line here."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_bench.quality.datasets import ade20k, coco, reasonseg, refcoco, referring_videos
from hyperseg_bench.quality.datasets.checked import Checked
from hyperseg_bench.quality.datasets.files import folder_of
from hyperseg_bench.quality.datasets.shapes.asked import ClassScenes, Clips, Scenes
from hyperseg_bench.quality.samples import DataSet, First
from hyperseg_runtime.errors import InputError, Notice
from hyperseg_runtime.files.unreadable import MISSING, why_no_folder
from hyperseg_runtime.images.frames import told, why_no_frame
from hyperseg_runtime.images.reading import load_image


@dataclass(frozen=True)
class Choice:
    """Which part of which data set; plain values, so that it can go to another process and into a file.

    folder  where its files lie
    split   part of it, such as val; None for the data set's usual one
    items   so many samples from the start; None for all
    """

    name: str
    folder: str | None = None
    split: str | None = None
    items: int | None = None

    def told(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Entry:
    """about: one line for people; splits: their names, the usual one first; open: from a choice of this name."""

    about: str
    open: Callable[[Choice], DataSet]
    splits: tuple[str, ...] = ()


def _scenes(choice: Choice) -> Scenes:
    return Scenes(range(choice.items or 500), _photographs(choice.folder))


def _clips(choice: Choice) -> Clips:
    return Clips(range(choice.items or 50), _photographs(choice.folder))


def _class_scenes(choice: Choice) -> ClassScenes:
    return ClassScenes(range(choice.items or 100), _photographs(choice.folder))


def _photographs(folder: str | None) -> list[np.ndarray]:
    """Backgrounds for some of the scenes, in the order of their names; without a folder there are none. What is no
    image is told in a warning.
    """
    if folder is None:
        return []
    if reason := why_no_folder(folder):
        missing = "no such folder" if reason == MISSING else reason
        raise InputError(f"{folder}: {missing}; expected a folder of photographs")
    verdicts = {path: why_no_frame(path) for path in sorted(Path(folder).iterdir())}
    found = [path for path, verdict in verdicts.items() if verdict is None]
    others = told([verdict for verdict in verdicts.values() if verdict is not None], "image")
    if not found:
        raise InputError(f"{folder}: expected photographs, found none" + (f" ({others})" if others else ""))
    if others:
        warnings.warn(Notice(f"{folder}: {others}"), stacklevel=2)
    return [load_image(path) for path in found]


def _published(about: str, layout: str, open_split: Callable[[Path, str], DataSet], *splits: str) -> Entry:
    """A data set that lies in a folder."""

    def open_choice(choice: Choice) -> DataSet:
        folder = folder_of(choice.folder, layout)
        return Checked(lambda: open_split(folder, choice.split or splits[0]), folder, layout)

    return Entry(about, open_choice, splits)


def _referring(name: str, references: Sequence[str], *splits: str) -> Entry:
    def open_split(folder: Path, split: str) -> DataSet:
        return refcoco.Referring(folder, name, split, references)

    return _published("photographs, expressions", refcoco.LAYOUT.replace("NAME", name), open_split, *splits)


UNC, UNC_SPLITS = ("refs(unc).p",), ("val", "testA", "testB", "train")

DATA_SETS: Mapping[str, Entry] = {
    "shapes": Entry("made scenes, expressions and questions; --data: photographs for backgrounds", _scenes),
    "shapes-clips": Entry("made clips, expressions; --data: photographs for backgrounds", _clips),
    "shapes-classes": Entry("made scenes, class list; --data: photographs for backgrounds", _class_scenes),
    "refcoco": _referring("refcoco", UNC, *UNC_SPLITS),
    "refcoco+": _referring("refcoco+", UNC, *UNC_SPLITS),
    "refcocog": _referring("refcocog", ("refs(umd).p",), "val", "test", "train"),
    "grefcoco": _referring("grefcoco", ("grefs(unc).json", "grefs(unc).p"), *UNC_SPLITS),
    "reasonseg": _published(
        "photographs, sentences that hint", reasonseg.LAYOUT, reasonseg.ReasonSeg, "val", "test", "train"
    ),
    "coco-panoptic": _published("photographs, class list", coco.LAYOUT, coco.CocoPanoptic, "val", "train"),
    "coco-instances": _published("photographs, class list", coco.LAYOUT, coco.CocoInstances, "val", "train"),
    "ade20k": _published("photographs, class list", ade20k.LAYOUT, ade20k.Ade20k, "validation", "training"),
    "ref-davis": _published(
        "videos, expressions", referring_videos.LAYOUT, referring_videos.NumberedObjects, "valid", "train"
    ),
    "ref-youtube-vos": _published(
        "videos, expressions (truth of train only is published)",
        referring_videos.LAYOUT,
        referring_videos.NumberedObjects,
        "train",
        "valid",
    ),
    "revos": _published("videos, expressions", referring_videos.REVOS_LAYOUT, referring_videos.Revos, "valid", "train"),
}


def open_data_set(choice: Choice) -> DataSet:
    """Raises InputError for a name or split that is not known, and for files that are missing or of another kind."""
    data = _entry(choice).open(choice)
    return data if choice.items is None else First(data, choice.items)


def source_of(choice: Choice) -> Choice:
    """What a choice takes its samples from: all items of the split, which has its name also where it is the usual one.

    Raises InputError for a name or split that is not known.
    """
    usual = next(iter(_entry(choice).splits), None)
    return replace(choice, split=choice.split or usual, items=None)


def _entry(choice: Choice) -> Entry:
    entry = DATA_SETS.get(choice.name)
    if entry is None:
        raise InputError(f"unknown data set {choice.name!r}; choose {', '.join(DATA_SETS)}")
    if choice.split is not None and choice.split not in entry.splits:
        known = f"choose {', '.join(entry.splits)}" if entry.splits else "it has none"
        raise InputError(f"{choice.name} has no split {choice.split!r}; {known}")
    return entry
