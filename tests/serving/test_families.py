"""The real server on the CPU profile with a bundle of every family: what the family declares is served, by its own
names; the rest is refused in its words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import VIDEO, FamilySpec
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.client.canary import ask_canary
from hyperseg_serving.client.client import Client
from hyperseg_serving.client.grpc_transport import GrpcTransport
from hyperseg_serving.client.http_transport import HttpTransport
from hyperseg_serving.client.results import results_of
from hyperseg_serving.contract import Limits, Options, Profile
from hyperseg_serving.names import ModelNames
from hyperseg_serving.repository.writer import bundle_spec, write_repository
from hyperseg_serving.server.command import Address, ServerSettings
from hyperseg_serving.server.distribution import Distribution
from hyperseg_serving.server.process import Server
from hyperseg_serving.service.parameters import THREADS_VARIABLE
from hyperseg_serving.service.requests import Request, open_image
from serving_support import same
from support import family_bundle, others_in_full

READY_S = 120
TEXTS = ["the cup", "the spoon"]


@dataclass(frozen=True)
class Running:
    """A family's server, a client of it, and the same bundle in process."""

    family: FamilySpec
    server: Server
    client: Client
    pipeline: Pipeline


@pytest.fixture(scope="module", params=[pytest.param(name, marks=others_in_full(name)) for name in FAMILIES])
def running(
    request: pytest.FixtureRequest,
    distribution: Distribution,
    shared_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    bundle = family_bundle(shared_dir, request.param)
    repository = tmp_path_factory.mktemp("family") / "repository"
    write_repository(repository, *bundle_spec(bundle))
    environment = {THREADS_VARIABLE: "1"}
    settings = ServerSettings(repository, bundle, Profile.CPU, Address(0, 0, 0), environment=environment)
    with Server(distribution, settings) as server, Pipeline.load(bundle, threads=1) as pipeline:
        server.wait_until_ready(READY_S)
        with Client(server.address.grpc_url) as client:
            yield Running(FAMILIES[request.param], server, client, pipeline)


@pytest.fixture(scope="module")
def pixels(coffee: Path) -> np.ndarray:
    return open_image(coffee.read_bytes(), Limits())


def test_the_client_finds_the_family(running: Running) -> None:
    assert running.client.family is running.family
    with Client(running.server.address.http_url) as client:
        assert client.family is running.family


def test_the_models_are_those_that_the_family_declares(running: Running) -> None:
    names, transport = ModelNames(running.family), HttpTransport(running.server.address.http_url)
    assert transport.has_model(names.public, 10)
    for model in (names.video, names.ensemble):
        assert model is None or transport.has_model(model, 10)
    assert transport.has_model(f"{running.family.name}_video", 10) == bool(running.family.video_tasks)


def test_masks_are_those_of_the_pipeline(running: Running, coffee_bytes: bytes, pixels: np.ndarray) -> None:
    with running.pipeline.open(pixels) as session:
        assert same(running.client.segment(coffee_bytes, TEXTS), session.segment_many(TEXTS))


def test_the_ensemble_gives_the_same_masks(running: Running, coffee_bytes: bytes, pixels: np.ndarray) -> None:
    ensemble = ModelNames(running.family).ensemble
    assert ensemble is not None, "every family segments what an expression refers to"
    transport = GrpcTransport(running.server.address.grpc_url)
    found = results_of(transport.infer(ensemble, Request(coffee_bytes, tuple(TEXTS)), 30))
    transport.close()
    with running.pipeline.open(pixels) as session:
        assert same(found, session.segment_many(TEXTS))


def test_class_lists_are_answered_or_refused(running: Running, coffee_bytes: bytes, pixels: np.ndarray) -> None:
    names = ["cup", "table"]
    if running.family.answers(Classes):
        with running.pipeline.open(pixels) as session:
            expected = session.segment_classes(names)
        assert same([running.client.segment_classes(coffee_bytes, names)], [expected])
    else:
        with pytest.raises(InputError, match=refusal(running.family, Classes.kind)):
            running.client.segment_classes(coffee_bytes, names)


def test_every_task_is_served(running: Running, coffee_bytes: bytes, pixels: np.ndarray) -> None:
    """A text that is not in the form that its task needs is refused with an example of it."""
    names = ["cup", "table"]
    for task in (task for task in running.family.tasks if not task.writes):
        options = Options(task=task.name)
        with running.pipeline.open(pixels) as session:
            if task.request is Expressions:
                texts = [task.form or TEXTS[0]]
                found = running.client.segment(coffee_bytes, texts, options)
                assert same(found, session.segment_many(texts, task.name))
            elif task.request is Classes:
                listed, expected = (
                    running.client.segment_classes(coffee_bytes, names, options),
                    session.segment_classes(names, task.name),
                )
                assert (listed.asked, listed.task, listed.to_png()) == (expected.asked, task.name, expected.to_png())
        if task.form:
            with pytest.raises(InputError, match=re.escape(task.form)):
                running.client.segment(coffee_bytes, TEXTS, options)


def test_regions_are_answered_or_refused(running: Running, coffee_bytes: bytes, pixels: np.ndarray) -> None:
    mask = np.zeros(pixels.shape[:2], np.bool_)
    mask[100:200, 150:300] = True
    asked = Regions(((200.0, 150.0),), ((100.0, 100.0, 300.0, 300.0),), masks=(mask,))
    if running.family.answers(Regions):
        with running.pipeline.open(pixels) as session:
            expected = session.run(asked)
        found = running.client.segment_regions(coffee_bytes, asked)
        assert len(found) == 3 and same(found, expected)
        with pytest.raises(InputError, match="lies outside the image"):
            running.client.segment_regions(coffee_bytes, Regions(((6000.0, 150.0),)))
    else:
        with pytest.raises(InputError, match=refusal(running.family, Regions.kind)):
            running.client.segment_regions(coffee_bytes, asked)


def test_questions_are_answered_or_refused(running: Running, coffee_bytes: bytes) -> None:
    if running.family.answers(Question):
        assert list(running.client.ask(coffee_bytes, "What?", Options(max_tokens=3)))
    else:
        with pytest.raises(InputError, match=refusal(running.family, Question.kind)):
            list(running.client.ask(coffee_bytes, "What?"))


def test_videos_are_answered_or_refused(running: Running, coffee_bytes: bytes, pixels: np.ndarray) -> None:
    family = running.family
    if family.video_tasks:
        regions = Regions(points_xy=((200.0, 150.0),)), Regions()
        asked = (TEXTS, TEXTS) if family.video_answers(Expressions) else regions
        video, expected = running.client.open_video(), running.pipeline.open_video()
        ready = [one for number in range(2) for one in video.push(coffee_bytes, asked[number], number == 1)]
        own = [one for number in range(2) for one in expected.push(pixels, asked[number])] + expected.finish()
        assert [one.frame for one in ready] == [0, 1]
        assert all(same(a.results, b.results) for a, b in zip(ready, own, strict=True))
    else:
        with pytest.raises(InputError, match=refusal(running.family, VIDEO)):
            running.client.open_video()


def test_an_unknown_task_is_refused(running: Running, coffee_bytes: bytes) -> None:
    with pytest.raises(InputError, match=f"E_REQUEST: unknown task 'none'.*{running.family.title}"):
        running.client.segment(coffee_bytes, TEXTS, Options(task="none"))


def test_the_canary_is_answered(running: Running) -> None:
    assert ask_canary(running.server.address.http_url, 20) > 0


def refusal(family: FamilySpec, capability: str) -> str:
    return f"{re.escape(family.title)}.*{re.escape(family.lacks[capability])}"
