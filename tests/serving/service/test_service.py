"""The service without a server: the same results as the pipeline's own, and when it stops."""

from dataclasses import replace

import numpy as np
import pytest

from hyperseg_runtime.contracts.results import SegmentationResult, decode_rle
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.contract import Limits, Options, StreamStep
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.mask_stage import MaskStage
from hyperseg_serving.service.requests import MaskRequest, Request, open_image
from hyperseg_serving.service.responses import Response, parse_response
from hyperseg_serving.service.service import Service
from hyperseg_serving.service.staged import HandedOver, StagedBackend


@pytest.fixture(scope="module")
def service(pipeline: Pipeline) -> Service:
    return Service(pipeline, Limits(), "abc")


def going_on() -> bool:
    return False


def last(service: Service, request: Request) -> Response:
    *_, response = service.respond(request, going_on)
    return response


def masks_of(response: Response) -> list[np.ndarray]:
    assert response.result is not None
    return [decode_rle(result["masks"][0]["segmentation"]) for result in response.result["results"]]


def same(found: list[np.ndarray], expected: list[SegmentationResult]) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, (r.mask for r in expected)))


def test_expressions_and_classes(service: Service, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    pixels = open_image(coffee_bytes, Limits())
    response = last(service, Request(coffee_bytes, ("the cup", "the spoon"), classes=("cup", "table")))
    with pipeline.open(pixels) as session:
        expected = session.segment_many(["the cup", "the spoon"]) + session.segment_classes(["cup", "table"])
    assert same(masks_of(response), expected)
    assert response.result is not None and response.result["bundle"] == "abc"


def test_an_answer_comes_in_pieces_and_then_the_mask(service: Service, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    request = Request(coffee_bytes, ("the cup",), question="What is it?", options=Options(max_tokens=6))
    *pieces, final = service.respond(request, going_on)
    with pipeline.open(open_image(coffee_bytes, Limits())) as session:
        expected = session.ask("What is it?", max_tokens=6).finished()
    assert "".join(response.piece or "" for response in pieces).strip() == expected.text
    assert final.result is not None and final.result["answer"]["tokens"] == len(expected.token_ids)
    assert len(final.result["results"]) == 1


def test_frames_of_two_streams_do_not_mix(service: Service, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    frame = Request(coffee_bytes, ("the cup",))
    for name in ("a", "b"):
        last(service, replace(frame, stream=StreamStep(id=name, start=True)))
    found = masks_of(last(service, replace(frame, stream=StreamStep(id="a"))))
    video = pipeline.open_video()
    pixels = open_image(coffee_bytes, Limits())
    video.segment(pixels, "the cup")
    assert same(found, [video.segment(pixels, "the cup")])


def test_a_response_survives_the_wire(service: Service, coffee_bytes: bytes) -> None:
    response = last(service, Request(coffee_bytes, ("the cup",), options=Options(png=True)))
    assert parse_response(response.tensors()) == response
    assert response.result is not None and response.result["results"][0]["png_base64"].startswith("iVBOR")


def test_nothing_is_begun_for_a_caller_who_left(service: Service, coffee_bytes: bytes) -> None:
    with pytest.raises(RefusalError) as refusal:
        list(service.respond(Request(coffee_bytes, ("the cup",)), lambda: True))
    assert refusal.value.reason is Reason.CANCELLED


def test_a_caller_who_leaves_ends_the_answer(service: Service) -> None:
    asked = iter([False, False, False, False, True])
    responses = service.respond(Request(question="a?", options=Options(max_tokens=100)), lambda: next(asked))
    with pytest.raises(RefusalError) as refusal:
        list(responses)
    assert refusal.value.reason is Reason.CANCELLED


def test_a_late_request_goes_no_further(service: Service, coffee_bytes: bytes) -> None:
    request = Request(coffee_bytes, ("the cup",), question="a?", options=Options(timeout_ms=1))
    with pytest.raises(RefusalError) as refusal:
        list(service.respond(request, going_on))
    assert refusal.value.reason is Reason.TIMEOUT


def test_masks_from_what_image_graphs_made_elsewhere(pipeline: Pipeline, coffee_bytes: bytes) -> None:
    """The two ends of the ensemble, with the image graphs run in between."""
    bundle = pipeline.bundle
    pixels = open_image(coffee_bytes, Limits())
    backend = pipeline._backend
    tensors = {name: backend.upload(array) for name, array in pipeline.family.image_inputs(bundle)(pixels).items()}
    for entry in bundle.manifest.graphs:
        if entry.spec.reuse == "image":
            inputs = {name: tensors[name] for name in entry.spec.input_names()}
            tensors |= pipeline._graphs[entry.spec.name].run(inputs)
    given = HandedOver(backend)
    staged = Pipeline(bundle, StagedBackend(backend, given), cache_bytes=0)
    made = {name: buffer.to_host() for name, buffer in tensors.items()}
    response = MaskStage(staged, given, "abc").respond(MaskRequest(made, (400, 600), ("the cup",)))
    assert same(masks_of(response), [pipeline(pixels, "the cup")])
