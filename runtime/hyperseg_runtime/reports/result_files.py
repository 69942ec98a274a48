"""What the files of one result hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.contracts.results import Instances, Result, encode_png
from hyperseg_runtime.files.results import Kind
from hyperseg_runtime.reports.annotations import Annotated
from hyperseg_runtime.reports.overlay import draw_list, draw_overlay


@dataclass(frozen=True)
class PageFacts:
    """What a report tells beside the result: the bundle it was made with, and the command."""

    manifest: Manifest
    command: tuple[str, ...]


def contents_of(
    result: Result,
    image_name: str,
    image_hwc_u8: np.ndarray,
    names: Mapping[Kind, str],
    ids: Mapping[str, int] | None = None,
    page: PageFacts | None = None,
) -> dict[Kind, bytes]:
    """Bytes for each kind in `names`, which are the names of the files; `ids` are those of the categories, see
    `Annotated`. A report needs `page`.
    """
    height, width = image_hwc_u8.shape[:2]
    annotated = Annotated.of(result, image_name, (height, width), ids)
    makers: dict[Kind, Callable[[], bytes]] = {
        Kind.MASK: result.to_png,
        Kind.OVERLAY: lambda: overlay_of(result, image_hwc_u8),
        Kind.RESULT: lambda: json_bytes(result.to_json()),
        Kind.COCO: lambda: annotated.coco(names[Kind.MASK]),
        Kind.POLYGONS: annotated.polygons,
        Kind.LABELME: annotated.labelme,
        Kind.YOLO: annotated.yolo,
        Kind.REPORT: lambda: _report(result, image_hwc_u8, page),
    }
    return {kind: makers[kind]() for kind in names}


def overlay_of(result: Result, image_hwc_u8: np.ndarray) -> bytes:
    """PNG: of one thing that was asked its best mask, of several, and of objects with parts, everything by its name."""
    if isinstance(result, Instances) and len(result.asked) == 1 and not result.has_parts:
        return encode_png(draw_overlay(image_hwc_u8, result.mask))
    return encode_png(draw_list(image_hwc_u8, result))


def _report(result: Result, image_hwc_u8: np.ndarray, page: PageFacts | None) -> bytes:
    """Drawing charts takes a second to load, and a place that can be written to."""
    from hyperseg_runtime.reports.html import render_report

    if page is None:
        raise ValueError("a report needs what is known of the bundle and of the command")
    return render_report(result, overlay_of(result, image_hwc_u8), page.manifest, page.command)
