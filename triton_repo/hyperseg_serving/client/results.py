"""Results out of a server's JSON: inverse of `to_json` of the classes in `contracts.results`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, Segment, SemanticMap, decode_rle
from hyperseg_runtime.errors import ServerError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_serving.service.responses import Response


def results_of(response: Response) -> list[Result]:
    """The results of the last response to a request. Raises ServerError where there are none."""
    if response.result is None or "results" not in response.result:
        raise ServerError("the server's answer ended without a result")
    return [result_of(content) for content in response.result["results"]]


def frames_of(response: Response) -> list[FrameResults]:
    """Results of the frames that were ready with the response to one. Raises ServerError where there is none."""
    if response.result is None or "frames" not in response.result:
        raise ServerError("the server's answer to a frame ended without results of frames")
    frames = response.result["frames"]
    return [FrameResults(frame["frame"], tuple(map(result_of, frame["results"]))) for frame in frames]


def stream_of(response: Response) -> str:
    """What the server calls the video that a frame belongs to. Raises ServerError where it does not say."""
    stream = (response.result or {}).get("stream")
    if not isinstance(stream, str):
        raise ServerError(
            "the server's answer to a frame does not name its stream; is the server older than this client?"
        )
    return stream


def result_of(content: Mapping[str, Any]) -> Result:
    """One result. Raises ServerError for a kind that this program does not know."""
    if content["kind"] not in READERS:
        raise ServerError(f"the server gives results of kind {content['kind']!r}; known are {', '.join(READERS)}")
    return READERS[content["kind"]](content)


def _instances(content: Mapping[str, Any]) -> Instances:
    rows = content["instances"]
    details = tuple(row["details"] for row in rows)
    return Instances(
        masks=np.array([decode_rle(row["segmentation"]) for row in rows], np.bool_).reshape(-1, *_image_hw(content)),
        scores=np.array([row["score"] for row in rows], np.float32),
        labels=tuple(row["label"] for row in rows),
        instance_details=details if any(details) else (),
        **_common(content),
    )


def _semantic(content: Mapping[str, Any]) -> SemanticMap:
    classes = np.full(_image_hw(content), -1, np.int32)
    for row in content["classes"]:
        classes[decode_rle(row["segmentation"])] = row["class"]
    return SemanticMap(classes=classes, **_common(content))


def _panoptic(content: Mapping[str, Any]) -> PanopticMap:
    ids = np.zeros(_image_hw(content), np.int32)
    for row in content["segments_info"]:
        ids[decode_rle(row["segmentation"])] = row["id"]
    segments = tuple(
        Segment(row["id"], row["category_id"], bool(row["isthing"]), row["score"]) for row in content["segments_info"]
    )
    return PanopticMap(ids=ids, segments=segments, **_common(content))


def _image_hw(content: Mapping[str, Any]) -> tuple[int, int]:
    return content["image_height_px"], content["image_width_px"]


def _common(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "asked": tuple(content["asked"]),
        "task": content["task"],
        "timings_ms": content["timings_ms"],
        "details": content["details"],
    }


READERS: dict[str, Callable[[Mapping[str, Any]], Result]] = {
    Instances.kind: _instances,
    SemanticMap.kind: _semantic,
    PanopticMap.kind: _panoptic,
}
"""By the kind of result."""
