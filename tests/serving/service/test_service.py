"""The service without a server: the same results as the pipeline's own, and when it stops."""

import base64
from collections.abc import Mapping
from dataclasses import replace

import pytest

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.contracts.results import Instances, encode_png
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_runtime.session.video_session import VideoSession
from hyperseg_serving.client.results import frames_of, results_of
from hyperseg_serving.contract import Limits, Options, StreamStep
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.repository.config import RepositorySpec
from hyperseg_serving.service.mask_stage import MaskStage
from hyperseg_serving.service.requests import MaskRequest, Request, open_image
from hyperseg_serving.service.responses import Response, parse_response
from hyperseg_serving.service.service import Service
from hyperseg_serving.service.staged import StagedBackend
from serving_support import same


@pytest.fixture(scope="module")
def service(pipeline: Pipeline) -> Service:
    return Service(pipeline, Limits(), "abc")


def going_on() -> bool:
    return False


def last(service: Service, request: Request) -> Response:
    *_, response = service.respond(request, going_on)
    return response


def test_expressions_and_classes(service: Service, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    pixels = open_image(coffee_bytes, Limits())
    response = last(service, Request(coffee_bytes, ("the cup", "the spoon"), classes=("cup", "table")))
    with pipeline.open(pixels) as session:
        expected = [*session.segment_many(["the cup", "the spoon"]), session.segment_classes(["cup", "table"])]
    assert same(results_of(response), expected)
    assert response.result is not None and response.result["bundle"] == "abc"


def test_instances_of_classes_below_a_score_are_left_out(service: Service, coffee_bytes: bytes) -> None:
    request = Request(coffee_bytes, ("the cup",), classes=("cup", "table", "spoon"))
    expression, classes = results_of(last(service, request))
    assert isinstance(classes, Instances) and len(classes.scores) == 3
    least = (float(classes.scores[0]) + float(classes.scores[1])) / 2
    above = results_of(last(service, replace(request, options=Options(min_score=least))))
    assert same(above, [expression, classes.chosen([0])])


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
    (found,) = frames_of(last(service, replace(frame, stream=StreamStep(id="a", end=True))))
    video = pipeline.open_video()
    pixels = open_image(coffee_bytes, Limits())
    video.push(pixels, ["the cup"])
    (expected,) = video.push(pixels, ["the cup"])
    assert found.frame == expected.frame == 1
    assert same(found.results, expected.results)


def test_what_comes_late_comes_with_the_last_frame(
    service: Service, coffee_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a family that looks at a window of frames: nothing at first, then all that are missing."""
    push = VideoSession.push
    held: list[FrameResults] = []
    monkeypatch.setattr(VideoSession, "push", lambda *asked: held.extend(push(*asked)) or [])
    monkeypatch.setattr(VideoSession, "finish", lambda video: held)
    frame = Request(coffee_bytes, ("the cup",))
    assert frames_of(last(service, replace(frame, stream=StreamStep(id="late", start=True)))) == []
    ready = frames_of(last(service, replace(frame, stream=StreamStep(id="late", end=True))))
    assert [one.frame for one in ready] == [0, 1]


def test_a_response_survives_the_wire(service: Service, coffee_bytes: bytes) -> None:
    response = last(service, Request(coffee_bytes, ("the cup",), options=Options(png=True)))
    assert parse_response(response.tensors()) == response
    ((row,),) = (result["instances"] for result in response.results())
    (found,) = results_of(response)
    assert isinstance(found, Instances)
    assert base64.b64decode(row["png_base64"]) == encode_png(found.mask)


def test_nothing_is_kept_of_an_image_on_request(pipeline: Pipeline, coffee_bytes: bytes) -> None:
    with Pipeline(pipeline.bundle, OnnxRuntimeBackend(threads=1)) as keeping:
        service, images = Service(keeping, Limits(), "abc"), keeping._shared.images
        last(service, Request(coffee_bytes, ("the cup",), options=Options(remember=False)))
        images.trim()
        assert len(images) == 0
        last(service, Request(coffee_bytes, ("the cup",)))
        images.trim()
        assert len(images) == 1


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
    specs = [entry.spec for entry in bundle.manifest.graphs]
    for spec in (spec for spec in specs if spec.reuse is Reuse.IMAGE):
        tensors |= pipeline._graphs[spec.name].run({name: tensors[name] for name in spec.input_names()})
    expected = pipeline(pixels, "the cup")

    def runs_elsewhere(spec: GraphSpec, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        raise AssertionError(f"{spec.name} was run")

    taken = {tensor.name for tensor in RepositorySpec(pipeline.family, specs).stage_outputs()}
    outputs = {name: buffer.to_host() for name, buffer in tensors.items() if name in taken}
    stage = MaskStage(Pipeline(bundle, StagedBackend(backend, runs_elsewhere), cache_bytes=0), backend, "abc")
    stage.warm_up((64, 64))
    response = stage.respond(MaskRequest(outputs, (400, 600), ("the cup",)))
    assert same(results_of(response), [expected])
