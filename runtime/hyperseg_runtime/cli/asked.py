"""What a verb was asked to segment: texts, a list of classes, or regions; never two of them together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from hyperseg_runtime.class_lists.reading import ClassList, read_class_list
from hyperseg_runtime.contracts.requests import Expressions, Regions, SegmentationRequest
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.images.region_pictures import load_marked

ClassesOption = Annotated[
    str | None,
    typer.Option("--classes", metavar="LIST", help="A list of classes: coco, ade20k, a text or JSON file, or 'a,b,c'."),
]
BoxOption = Annotated[
    list[str] | None, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="A box around the object, in pixels.")
]
PointOption = Annotated[list[str] | None, typer.Option("--point", metavar="X,Y", help="A pixel of the object.")]
ScribbleOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--scribble",
        metavar="FILE",
        help="Picture of the image's size: lines over the object, on black or transparent.",
    ),
]
MaskOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--mask",
        metavar="FILE",
        help="Picture of the image's size: a rough mask, on black or transparent; of JPEG what is brighter than half.",
    ),
]


SeedOption = Annotated[
    int | None,
    typer.Option(
        "--region-seed",
        min=0,
        help="Draw points of regions at random, as some authors' code does; default: all counts.",
    ),
]


@dataclass(frozen=True)
class Asked:
    request: SegmentationRequest
    classes: ClassList | None = None

    @property
    def timed_apart(self) -> tuple[SegmentationRequest, ...]:
        """The same as requests of their own, so that each result has times of its own: expressions alone are many."""
        if isinstance(self.request, Expressions):
            return tuple(replace(self.request, texts=(text,)) for text in self.request.texts)
        return (self.request,)

    @property
    def ids(self) -> dict[str, int] | None:
        """Of the classes by name, where a list was asked for."""
        return None if self.classes is None else dict(zip(self.classes.names, self.classes.ids, strict=True))

    @property
    def results(self) -> int | None:
        """How many results will come, None for one that is about a whole list."""
        match self.request:
            case Expressions(texts=texts):
                return len(texts)
            case Regions(points_xy=points, boxes_xyxy=boxes, scribbles=scribbles, masks=masks):
                return len(points) + len(boxes) + len(scribbles) + len(masks)
        return None


def asked_of(
    texts: Sequence[str],
    task: str | None,
    classes: str | None = None,
    boxes: Sequence[str] | None = None,
    points: Sequence[str] | None = None,
    scribbles: Sequence[Path] | None = None,
    masks: Sequence[Path] | None = None,
    seed: int | None = None,
) -> Asked:
    """Raises InputError for nothing, for two kinds together, and for what cannot be read."""
    given = {
        "texts": bool(texts),
        "--classes": classes is not None,
        "regions (--box, --point, --scribble, --mask)": any((boxes, points, scribbles, masks)),
    }
    chosen = [name for name, is_given in given.items() if is_given]
    if len(chosen) != 1:
        found = " and ".join(chosen) if chosen else "nothing"
        raise InputError(f"expected one of texts, --classes and regions, got {found}")
    if classes is not None:
        listed = read_class_list(classes)
        return Asked(listed.request(task), listed)
    if texts:
        return Asked(Expressions.of(texts, task))
    return Asked(regions_of(task, boxes, points, scribbles, masks, seed))


def regions_of(
    task: str | None,
    boxes: Sequence[str] | None,
    points: Sequence[str] | None,
    scribbles: Sequence[Path] | None,
    masks: Sequence[Path] | None,
    seed: int | None,
) -> Regions:
    """Raises InputError for what cannot be read."""
    return Regions(
        points_xy=tuple((x, y) for x, y in (_numbers(point, "--point", "X,Y", 2) for point in points or ())),
        boxes_xyxy=tuple(
            (x0, y0, x1, y1) for x0, y0, x1, y1 in (_numbers(box, "--box", "X0,Y0,X1,Y1", 4) for box in boxes or ())
        ),
        scribbles=tuple(load_marked(path) for path in scribbles or ()),
        masks=tuple(load_marked(path) for path in masks or ()),
        task=task,
        seed=seed,
    )


def _numbers(text: str, option: str, form: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"{option} {text}: expected {form}, {count} numbers in pixels")
    return numbers
