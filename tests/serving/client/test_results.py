"""Results come back from the wire as they were."""

import numpy as np
import pytest

from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, Segment, SemanticMap
from hyperseg_runtime.errors import ServerError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_serving.client.results import frames_of, result_of, results_of
from hyperseg_serving.service.responses import Response, frames_response, parse_response, result_response

MASKS = np.zeros((2, 5, 7), np.bool_)
MASKS[0, 1:3, 2:6] = True
MASKS[1, 2:4, 0:3] = True
ASKED = {"asked": ("a", "b", "c"), "task": "t", "timings_ms": {"llm": 1.5}, "details": {"prompt_tokens": 3}}
SCORES = np.array([0.5, 0.25], np.float32)
LABELS = ("a", "b")
CLASSES = np.where(MASKS[0], 2, np.where(MASKS[1], 0, -1)).astype(np.int32)
RESULTS: list[Result] = [
    Instances(masks=MASKS, scores=SCORES, labels=LABELS, instance_details=({"query": 4}, {"query": 1}), **ASKED),
    Instances(masks=MASKS, scores=SCORES, labels=LABELS, **ASKED),
    Instances(masks=MASKS[:0], scores=SCORES[:0], labels=(), **ASKED),
    SemanticMap(classes=CLASSES, **ASKED),
    PanopticMap(
        ids=(CLASSES + 1).astype(np.int32), segments=(Segment(1, 2, True, 0.5), Segment(3, 0, False, 0.25)), **ASKED
    ),
]


@pytest.mark.parametrize("png", [False, True])
@pytest.mark.parametrize("result", RESULTS)
def test_every_kind_comes_back(result: Result, png: bool) -> None:
    response = parse_response(result_response([result], {}, png).tensors())
    (back,) = results_of(response)
    assert type(back) is type(result)
    assert back.to_json() == result.to_json()
    match back, result:
        case (Instances(), Instances()):
            assert np.array_equal(back.masks, result.masks) and back.instance_details == result.instance_details
        case (SemanticMap(), SemanticMap()):
            assert np.array_equal(back.classes, result.classes)
        case (PanopticMap(), PanopticMap()):
            assert np.array_equal(back.ids, result.ids) and back.segments == result.segments
    has_masks = not isinstance(back, Instances) or len(back.masks) > 0
    assert ("png_base64" in str(response.result)) == (png and has_masks)


def test_frames_keep_their_numbers() -> None:
    ready = [FrameResults(3, tuple(RESULTS[:2])), FrameResults(4, tuple(RESULTS[2:]))]
    back = frames_of(parse_response(frames_response(ready, {}).tensors()))
    assert [(one.frame, [r.to_json() for r in one.results]) for one in back] == [
        (one.frame, [r.to_json() for r in one.results]) for one in ready
    ]


def test_what_is_no_result() -> None:
    for response in (Response(), Response(result={"frames": []})):
        with pytest.raises(ServerError, match="without a result"):
            results_of(response)
    with pytest.raises(ServerError, match="results of frames"):
        frames_of(Response(result={"results": []}))
    with pytest.raises(ServerError, match="kind 'newer'; known are instances, semantic, panoptic"):
        result_of({"kind": "newer"})
