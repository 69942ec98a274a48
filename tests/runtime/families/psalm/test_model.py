"""PSALM on its tiny bundle: lists, regions, expressions that name several objects or none."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Classes, Expressions, Regions
from hyperseg_runtime.contracts.results import Instances, PanopticMap, SemanticMap
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.psalm import expressions
from hyperseg_runtime.families.psalm.model import PsalmModel
from hyperseg_runtime.session.pipeline import OpenedGraphs
from support import family_bundle

pytestmark = pytest.mark.slow  # its bundle takes a minute to make

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
NAMES = ("cup", "a spoon", "table")


@pytest.fixture(scope="module")
def backend() -> Iterator[OnnxRuntimeBackend]:
    with OnnxRuntimeBackend(threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def bundle(shared_dir: Path) -> Bundle:
    return Bundle.open(family_bundle(shared_dir, "psalm"))


@pytest.fixture(scope="module")
def opened(bundle: Bundle, backend: OnnxRuntimeBackend) -> OpenedGraphs:
    return OpenedGraphs(bundle, backend)


@pytest.fixture
def graphs(opened: OpenedGraphs) -> RecordingGraphs:
    return RecordingGraphs(opened)


@pytest.fixture
def model(bundle: Bundle, graphs: RecordingGraphs, backend: OnnxRuntimeBackend) -> Iterator[PsalmModel]:
    made = PsalmModel(bundle, graphs, backend)
    yield made
    made.close()


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_a_list_is_one_result_of_one_pass(model: PsalmModel, graphs: RecordingGraphs, task: str) -> None:
    (found,) = model.segment(model.open(IMAGE), Classes.of(NAMES, task, [True, True, False]))
    assert len(graphs.calls["llm"]) == len(graphs.calls["mask_decoder"]) == 1
    assert graphs.calls["mask_decoder"][0].outputs["class_logits"].shape[2] == len(NAMES) + 1
    assert (found.asked, found.task, found.details["prompts"]) == (NAMES, task, 1)
    kinds = {"instance": Instances, "panoptic": PanopticMap, "semantic": SemanticMap}
    assert isinstance(found, kinds[task])


def test_a_list_that_does_not_fit_is_read_in_parts(model: PsalmModel, graphs: RecordingGraphs) -> None:
    names = tuple(f"thing {number}" for number in range(40))
    (found,) = model.segment(model.open(IMAGE), Classes.of(names, "instance"))
    assert isinstance(found, Instances) and found.details["prompts"] == len(graphs.calls["mask_decoder"]) > 1


def test_the_encoder_runs_once_for_what_is_read_and_what_is_seen(model: PsalmModel, graphs: RecordingGraphs) -> None:
    image = model.open(IMAGE)
    for request in (Expressions(("the cup",), "referring"), Expressions(("a spoon",), "union")):
        model.segment(image, request)
    assert len(graphs.calls["image_encoder"]) == len(graphs.calls["pixel_decoder"]) == 1
    first, second = graphs.calls["llm"]
    rows = [call.inputs["inputs_embeds"].shape[1] for call in (first, second)]
    assert rows[1] < rows[0] - model.dims.image_tokens  # the image's rows are there already


def test_regions_share_a_prompt_and_are_the_mean_of_their_tokens(model: PsalmModel, graphs: RecordingGraphs) -> None:
    whole = np.ones(IMAGE.shape[:2], bool)
    asked = Regions(points_xy=((40.0, 20.0),), boxes_xyxy=((5.0, 5.0, 50.0, 40.0),), masks=(whole,), task="region")
    found = model.segment(model.open(IMAGE), asked)
    assert [result.asked for result in found] == [("point 40,20",), ("box 5,5,50,40",), ("mask 1",)]
    (call,) = graphs.calls["llm"]
    tokens = graphs.calls["image_encoder"][0].outputs["image_tokens"][0]
    spans = graphs.calls["mask_decoder"][0].inputs["condition_spans"][0]
    rows = call.inputs["inputs_embeds"][0, spans[:, 0]]
    assert (spans[:, 1] - spans[:, 0] == 1).all() and len(rows) == 3
    assert (rows.min(0) >= tokens.min(0) - 1e-5).all() and (rows.max(0) <= tokens.max(0) + 1e-5).all()


def test_a_seed_draws_points_of_a_region(model: PsalmModel, graphs: RecordingGraphs) -> None:
    image, box = model.open(IMAGE), ((5.0, 5.0, 50.0, 40.0),)
    for seed in (None, 1, 1, 2):
        model.segment(image, Regions(boxes_xyxy=box, task="region", seed=seed))
    spans = [call.inputs["condition_spans"][0, 0] for call in graphs.calls["mask_decoder"]]
    exact, one, again, other = (
        call.inputs["inputs_embeds"][0, span[0]] for call, span in zip(graphs.calls["llm"], spans, strict=True)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, exact) and not np.array_equal(one, other)


@pytest.mark.parametrize("box", [(5.0, 5.0, 5.0, 9.0), (0.0, 0.0, 91.0, 9.0)])
def test_regions_without_pixels_are_refused(model: PsalmModel, box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="the box"):
        model.segment(model.open(IMAGE), Regions(boxes_xyxy=(box,), task="region"))
    empty = np.zeros(IMAGE.shape[:2], bool)
    with pytest.raises(InputError, match="mask 1 marks no pixel"):
        model.segment(model.open(IMAGE), Regions(masks=(empty,), task="region"))


def test_an_expression_may_name_several_objects(model: PsalmModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit that the random model reaches: the union of its masks, in one result."""
    image = model.open(IMAGE)
    (best,) = model.segment(image, Expressions(("the cup",), "referring"))
    (below,) = model.segment(image, Expressions(("the cup",), "union"))
    assert isinstance(best, Instances) and isinstance(below, Instances)
    limit = float(best.scores[0]) / 2
    union_of_queries = expressions.union_of_queries
    monkeypatch.setattr(expressions, "union_of_queries", lambda *logits: union_of_queries(*logits, limit))
    (found,) = model.segment(image, Expressions(("the cup",), "union"))
    assert isinstance(found, Instances) and found.details["queries_above_0.6"] >= 1
    assert found.scores[0] == pytest.approx(best.scores[0], abs=1e-6)
    assert (found.masks[0] >= best.masks[0]).all()


def test_no_target_is_an_answer_where_it_is_asked_for(model: PsalmModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release's rule gives the best mask even then."""
    union_of_queries = expressions.union_of_queries
    monkeypatch.setattr(expressions, "union_of_queries", lambda *logits: union_of_queries(*logits, 1.0))
    image = model.open(IMAGE)
    (released,), (none,) = (
        model.segment(image, Expressions(("a zebra",), task)) for task in ("union", "union or none")
    )
    assert isinstance(released, Instances) and isinstance(none, Instances)
    assert released.details["queries_above_0.6"] == none.details["queries_above_0.6"] == 0
    assert released.masks[0].any() and not none.masks.any() and none.masks.shape == released.masks.shape
    assert none.scores[0] == pytest.approx(
        released.scores[0], rel=1e-6
    )  # the second prompt goes on behind the first's rows
