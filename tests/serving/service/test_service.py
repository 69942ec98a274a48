"""The service without a server: the same results as the pipeline's own, and when it stops."""

import base64
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partialmethod
from itertools import count

import numpy as np
import pytest

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Segment, encode_png
from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.families.hyperseg.video import HypersegVideo
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_runtime.session.video_session import VideoSession
from hyperseg_serving.client.client import encoded
from hyperseg_serving.client.results import frames_of, results_of, stream_of
from hyperseg_serving.contract import Limits, Options, StreamStep
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.repository.config import RepositorySpec
from hyperseg_serving.service import service as services
from hyperseg_serving.service.budget import Budget, Cancelled
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


def responses(service: Service, request: Request, cancelled: Cancelled = going_on) -> Iterator[Response]:
    """As `Desk` asks for them."""
    budget = Budget(cancelled, request.options.timeout_ms or 60_000)
    with service.turns.flow() as flow:
        yield from service.respond(request, budget, flow)


def last(service: Service, request: Request) -> Response:
    *_, response = responses(service, request)
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


def test_segments_of_classes_below_a_score_are_left_out(
    service: Service, coffee_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.repeat(np.array([[0], [1], [2]], np.int32), 4, 1)
    segments = (Segment(1, 0, True, 0.95), Segment(2, 1, False, 0.85))
    found = PanopticMap(asked=("cup", "table"), task="panoptic", ids=ids, segments=segments)
    monkeypatch.setattr(ImageSession, "run", lambda session, request: [found])
    options = Options(task="panoptic", min_score=0.9)
    (above,) = results_of(last(service, Request(coffee_bytes, classes=("cup", "table"), options=options)))
    assert isinstance(above, PanopticMap) and above.segments == segments[:1]
    assert np.array_equal(above.ids, np.where(ids == 1, 1, 0))


def test_an_answer_comes_in_pieces_and_then_the_mask(service: Service, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    request = Request(coffee_bytes, ("the cup",), question="What is it?", options=Options(max_tokens=6))
    *pieces, final = responses(service, request)
    with pipeline.open(open_image(coffee_bytes, Limits())) as session:
        expected = session.ask("What is it?", max_tokens=6).finished()
    assert "".join(response.piece or "" for response in pieces).strip() == expected.text
    assert final.result is not None and final.result["answer"]["tokens"] == len(expected.token_ids)
    assert len(final.result["results"]) == 1


def test_no_answer_is_longer_than_the_limits_allow(pipeline: Pipeline) -> None:
    """Also where the caller does not say how long it may be."""
    final = last(Service(pipeline, Limits(max_answer_tokens=4), "abc"), Request(question="What is it?"))
    assert final.result is not None and final.result["answer"]["tokens"] <= 4


@pytest.mark.parametrize(
    "wrong",
    [
        Request(texts=("the cup", " ")),
        Request(classes=("cup", "<image>")),
        Request(texts=("cup",) * 9 + ("x " * 400,)),
        Request(texts=("x " * 400,), stream=StreamStep(start=True)),
        Request(classes=("cup", "x " * 400), stream=StreamStep(start=True)),
    ],
)
def test_a_wrong_text_is_refused_before_any_work(service: Service, coffee_bytes: bytes, wrong: Request) -> None:
    """Also behind a question, or behind so many texts that they take several turns."""
    question = None if wrong.stream else "What is it?"
    request = replace(wrong, image=coffee_bytes, question=question)
    with service.turns.flow() as flow:
        with pytest.raises(PromptError):
            next(service.respond(request, Budget(going_on, 60_000), flow))
        assert flow.used_s == 0


def test_frames_of_two_streams_do_not_mix(service: Service, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    frame = Request(coffee_bytes, ("the cup",))
    streams = [stream_of(last(service, replace(frame, stream=StreamStep(start=True)))) for _ in range(2)]
    assert len(set(streams)) == 2 and min(map(len, streams)) >= 22  # 128 random bits
    (found,) = frames_of(last(service, replace(frame, stream=StreamStep(id=streams[0], end=True))))
    video = pipeline.open_video()
    pixels = open_image(coffee_bytes, Limits())
    video.push(pixels, ["the cup"])
    (expected,) = video.push(pixels, ["the cup"])
    assert found.frame == expected.frame == 1
    assert same(found.results, expected.results)


def test_objects_of_a_list_keep_their_numbers(
    service: Service, pipeline: Pipeline, coffee_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has less than `min_score` is left out, and followed all the same."""
    certain_of_nothing = partialmethod(HypersegVideo.__init__, min_score=0)  # as random weights are
    monkeypatch.setattr(HypersegVideo, "__init__", certain_of_nothing)
    frame, asked = Request(coffee_bytes, classes=("cup", "spoon")), Classes(("cup", "spoon"))
    begun = last(service, replace(frame, stream=StreamStep(start=True)))
    video, pixels = pipeline.open_video(), open_image(coffee_bytes, Limits())
    ((first,),) = (ready.results for ready in video.push(pixels, asked))
    assert isinstance(first, Instances) and len(first.masks) > 1
    assert same(frames_of(begun)[0].results, [first])
    least = float(first.scores[0])
    step = StreamStep(id=stream_of(begun), end=True)
    (ready,) = frames_of(last(service, replace(frame, stream=step, options=Options(min_score=least))))
    ((second,),) = (ready.results for ready in video.push(pixels, asked))
    assert isinstance(second, Instances) and same(ready.results, [second.at_least(least)])


def test_what_comes_late_comes_with_the_last_frame(
    service: Service, coffee_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a family that looks at a window of frames: nothing at first, then all that are missing."""
    push = VideoSession.push
    held: list[FrameResults] = []
    monkeypatch.setattr(VideoSession, "push", lambda *asked: held.extend(push(*asked)) or [])
    monkeypatch.setattr(VideoSession, "finish", lambda video: held)
    frame = Request(coffee_bytes, ("the cup",))
    begun = last(service, replace(frame, stream=StreamStep(start=True)))
    assert frames_of(begun) == []
    ready = frames_of(last(service, replace(frame, stream=StreamStep(id=stream_of(begun), end=True))))
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


def test_decoded_images_are_kept_within_the_limit(pipeline: Pipeline, coffee_bytes: bytes) -> None:
    service = Service(pipeline, Limits(cache_bytes=1000), "abc")
    last(service, Request(coffee_bytes, ("the cup",)))
    assert service._decoded.size_bytes == 0


def test_nothing_is_begun_for_a_caller_who_left(service: Service, coffee_bytes: bytes) -> None:
    with pytest.raises(RefusalError) as refusal:
        list(responses(service, Request(coffee_bytes, ("the cup",)), lambda: True))
    assert refusal.value.reason is Reason.CANCELLED


def test_a_caller_who_leaves_ends_the_answer(service: Service) -> None:
    left = threading.Event()
    pieces = responses(service, Request(question="a?", options=Options(max_tokens=250)), left.is_set)
    next(pieces)
    left.set()
    with pytest.raises(RefusalError) as refusal:
        list(pieces)
    assert refusal.value.reason is Reason.CANCELLED


def test_a_late_request_goes_no_further(service: Service, coffee_bytes: bytes) -> None:
    request = Request(coffee_bytes, ("the cup",), question="a?", options=Options(timeout_ms=1))
    with pytest.raises(RefusalError) as refusal:
        list(responses(service, request))
    assert refusal.value.reason is Reason.TIMEOUT


def test_many_texts_and_classes_take_turns_and_give_the_same(
    service: Service, pipeline: Pipeline, coffee_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "TURN_TEXTS", 2)
    turns = count()
    run = ImageSession.run
    monkeypatch.setattr(ImageSession, "run", lambda *asked: (next(turns), run(*asked))[1])
    texts, classes = ("the cup", "the spoon", "a"), ("cup", "table", "spoon")
    found = results_of(last(service, Request(coffee_bytes, texts, classes)))
    assert next(turns) == 4
    with pipeline.open(open_image(coffee_bytes, Limits())) as session:
        expected = [*session.segment_many(texts), session.segment_classes(classes)]
    assert same(found, expected)
    assert isinstance(found[-1], Instances) and found[-1].asked == classes


def test_what_was_reused_is_told_to_the_one_who_sent_it(pipeline: Pipeline, coffee_bytes: bytes) -> None:
    def reused(service: Service, text: str, cache_key: str | None) -> object:
        (found,) = results_of(last(service, Request(coffee_bytes, (text,), options=Options(cache_key=cache_key))))
        return found.details.get("reused_tokens")

    with Pipeline(pipeline.bundle, OnnxRuntimeBackend(threads=1)) as keeping:
        service = Service(keeping, Limits(), "abc")
        assert reused(service, "the cup", "mine") == reused(service, "the cup", "another") == 0
        again = reused(service, "the spoon", "mine")
        assert isinstance(again, int) and again > 0
        assert reused(service, "the cup", None) is None


def test_a_deadline_holds_inside_the_read_out(service: Service) -> None:
    """40 million pixels: the mask of one text takes longer than the whole request may."""
    request = Request(encoded(np.zeros((5000, 8000, 3), np.uint8)), ("a",) * 8, options=Options(timeout_ms=400))
    start = time.monotonic()
    with pytest.raises(RefusalError) as refusal:
        last(service, request)
    assert refusal.value.reason is Reason.TIMEOUT
    assert time.monotonic() - start < 4  # decoding a whole picture cannot be stopped; one mask takes seconds


def test_a_canary_makes_a_mask_while_others_wait(service: Service) -> None:
    with service.turns.flow() as flow, ThreadPoolExecutor(2) as pool:
        with service.turns.turn(flow):
            order = list[str]()
            pool.submit(
                lambda: (last(service, Request(question="a?", options=Options(max_tokens=1))), order.append("b"))
            )
            while service.turns.waiting < 1:
                time.sleep(0.001)
            asked = pool.submit(lambda: (service.canary(), order.append("canary"))[0])
            while service.turns.waiting < 2:
                time.sleep(0.001)
        assert len(asked.result().results()) == 1
    assert order[0] == "canary"


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
    response = stage.respond(MaskRequest(outputs, (400, 600), ("the cup",)), Budget(going_on, 60_000))
    assert same(results_of(response), [expected])


def test_an_image_that_was_sent_before_is_decoded_once(
    service: Service, coffee_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []

    def counted(data: bytes, limits: Limits) -> np.ndarray:
        decoded.append(data)
        return open_image(data, limits)

    monkeypatch.setattr(services, "open_image", counted)
    request = Request(coffee_bytes, ("a cup",), options=Options(cache_key="whose"))
    first = results_of(last(service, request))
    assert same(results_of(last(service, request)), first)
    forgotten = replace(request, options=Options(cache_key="whose", remember=False))
    assert same(results_of(last(service, forgotten)), first)
    assert len(decoded) == 2
