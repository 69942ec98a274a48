"""Class lists and regions in one prompt each: results of every kind, and one pass of the language model."""

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.contracts.requests import Classes, Regions
from hyperseg_runtime.contracts.results import Instances, PanopticMap, SemanticMap
from hyperseg_runtime.errors import InputError, PromptError
from hyperseg_runtime.families.hyperseg.model import HypersegModel
from hyperseg_runtime.families.mask_queries.listed import ListTask
from hyperseg_runtime.llm.prompt import SlotKind

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
NAMES = ("cup", "a spoon", "table")
MAP_TASKS = (ListTask.PANOPTIC, ListTask.SEMANTIC, ListTask.INSTANCE)


@pytest.mark.parametrize("task", MAP_TASKS)
def test_a_list_is_one_result_of_one_pass(
    model: HypersegModel, recorded_graphs: RecordingGraphs, task: ListTask
) -> None:
    request = Classes.of(NAMES, task.value, [True, True, False])
    (found,) = model.segment(model.open(IMAGE), request)
    assert len(recorded_graphs.calls["llm"]) == len(recorded_graphs.calls["mask_decoder"]) == 1
    assert (found.asked, found.task, found.details["prompts"]) == (NAMES, task.value, 1)
    match found:
        case PanopticMap(ids=ids, segments=segments):
            assert task is ListTask.PANOPTIC and ids.shape == IMAGE.shape[:2]
            assert all(segment.is_thing == (segment.class_index < 2) for segment in segments)
        case SemanticMap(classes=classes):
            assert task is ListTask.SEMANTIC and 0 <= classes.min() <= classes.max() < 3
        case Instances():
            assert task is ListTask.INSTANCE and set(found.labels) <= {"cup", "a spoon"}
            assert (np.diff(found.scores) <= 0).all()


def test_conditions_are_names_and_none_of_them(model: HypersegModel, recorded_graphs: RecordingGraphs) -> None:
    model.segment(model.open(IMAGE), Classes.of(NAMES, "semantic"))
    assert recorded_graphs.calls["mask_decoder"][-1].outputs["class_logits"].shape[2] == len(NAMES) + 1


def test_another_list_reads_the_image_once(model: HypersegModel, recorded_graphs: RecordingGraphs) -> None:
    image = model.open(IMAGE)
    for names in (NAMES, ("sky",)):
        (found,) = model.segment(image, Classes.of(names, "panoptic"))
    assert len(recorded_graphs.calls["image_encoder"]) == len(recorded_graphs.calls["clip_encoder"]) == 1
    assert found.details["reused_tokens"] > model.dims.image_tokens


def test_a_list_that_is_too_long_is_split_and_says_so(model: HypersegModel, recorded_graphs: RecordingGraphs) -> None:
    names = tuple(f"a thing of kind number {number}" for number in range(60))
    asked = model.listed(ListTask.PANOPTIC, Classes.of(names))
    assert len(asked.prompts) > 1
    assert [name for part in asked.parts for name in part] == list(range(60))
    for prompt, part in zip(asked.prompts, asked.parts, strict=True):
        assert prompt.length <= model.dims.context
        assert len(prompt.spans(SlotKind.CONDITION)) == len(part) + 1
    (found,) = model.segment(model.open(IMAGE), Classes.of(names, "semantic"))
    assert found.details["prompts"] == len(asked.prompts) >= len(recorded_graphs.calls["llm"])


def test_synonyms_are_names_of_their_class(model: HypersegModel, recorded_graphs: RecordingGraphs) -> None:
    asked = Classes.of(("cup", "table"), "semantic", synonyms=(("mug", "beaker"), ()))
    prompts = model.listed(ListTask.SEMANTIC, asked)
    assert prompts.class_of == (0, 0, 0, 1)
    (found,) = model.segment(model.open(IMAGE), asked)
    assert isinstance(found, SemanticMap) and found.classes.max() < 2
    assert recorded_graphs.calls["mask_decoder"][-1].outputs["class_logits"].shape[2] == 5


@pytest.mark.parametrize(("names", "message"), [((), "the class list is empty"), (("cup", " "), "the text is empty")])
def test_lists_that_cannot_be_asked(model: HypersegModel, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        model.segment(model.open(IMAGE), Classes(names, "panoptic"))


def test_regions_are_one_pass_and_one_result_each(model: HypersegModel, recorded_graphs: RecordingGraphs) -> None:
    lines = np.zeros(IMAGE.shape[:2], bool)
    lines[40, 10:60] = True
    asked = Regions(((20.0, 30.0),), ((5.0, 5.0, 40.0, 50.0),), (lines,), (lines,), "region")
    found = model.segment(model.open(IMAGE), asked)
    assert len(recorded_graphs.calls["llm"]) == 1
    assert [result.asked for result in found] == [("point 20,30",), ("box 5,5,40,50",), ("scribble 1",), ("mask 1",)]
    for result in found:
        assert isinstance(result, Instances) and result.labels == result.asked and result.masks.shape == (1, 60, 90)


def test_regions_are_read_anew_with_other_ones(model: HypersegModel) -> None:
    """A row of one region is never used for another."""
    image = model.open(IMAGE)
    asked = [Regions(points_xy=((x, 30.0),), task="region") for x in (10.0, 80.0, 10.0)]
    first, second, third = (model.segment(image, one)[0] for one in asked)
    (alone,) = model.segment(model.open(IMAGE), asked[1])
    assert isinstance(first, Instances) and isinstance(second, Instances) and isinstance(third, Instances)
    assert isinstance(alone, Instances)
    assert abs(second.score - alone.score) < 1e-5 and np.array_equal(second.masks, alone.masks)
    assert abs(first.score - third.score) < 1e-5 and first.score != second.score


def test_no_region_is_no_result(model: HypersegModel) -> None:
    assert model.segment(model.open(IMAGE), Regions(task="region")) == []


def test_a_seed_for_regions_is_refused(model: HypersegModel) -> None:
    with pytest.raises(InputError, match="HyperSeg draws no points of regions"):
        model.segment(model.open(IMAGE), Regions(points_xy=((1.0, 2.0),), task="region", seed=3))
