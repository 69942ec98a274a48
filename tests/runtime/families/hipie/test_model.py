"""HIPIE on a bundle: what is run for which request, objects with parts, and what cannot be asked."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.contracts.results import Instances, PanopticMap, SemanticMap, decode_rle
from hyperseg_runtime.errors import ImageError, PromptError
from hyperseg_runtime.families.hipie.model import HipieModel
from hyperseg_runtime.families.hipie.tasks import Task
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import OpenedGraphs
from support import family_bundle

pytestmark = pytest.mark.slow  # its bundle takes a minute to make

NAMES = ("cup", "table", "wall")
THINGS = (True, False, False)
LISTED = {"alignment", "vector_alignment", "masks"}


class Watched:
    """A model, and which of its graphs ran since it was last asked."""

    def __init__(self, bundle: Bundle, backend: OnnxRuntimeBackend) -> None:
        self.graphs = RecordingGraphs(OpenedGraphs(bundle, backend))
        self.model = HipieModel(bundle, self.graphs, backend)

    def ran(self) -> set[str]:
        names = {name for name, calls in self.graphs.calls.items() if calls}
        self.graphs.calls.clear()
        return names


@pytest.fixture(scope="module")
def backend() -> Iterator[OnnxRuntimeBackend]:
    with OnnxRuntimeBackend(threads=1) as opened:
        yield opened


@pytest.fixture
def watched(shared_dir: Path, backend: OnnxRuntimeBackend) -> Watched:
    return Watched(Bundle.open(family_bundle(shared_dir, "hipie")), backend)


@pytest.fixture
def pixels(coffee: Path) -> np.ndarray:
    return load_image(coffee)


def listed(task: Task, names: tuple[str, ...] = NAMES, things: tuple[bool, ...] = THINGS) -> Classes:
    return Classes(names, task.value, things)


def test_an_expression_needs_no_mask_dino(watched: Watched, pixels: np.ndarray) -> None:
    image = watched.model.open(pixels)
    watched.model.segment(image, Expressions(("the cup",), Task.REFERRING.value))
    assert watched.ran() == {"text", "image", "detr", "alignment", "masks"}


def test_what_a_list_runs(watched: Watched, pixels: np.ndarray) -> None:
    """The first of an image everything, another one text and detector, the same one again only what it is for."""
    model, image = watched.model, watched.model.open(pixels)
    model.segment(image, listed(Task.PANOPTIC))
    assert {"text", "image", "detr", "mask_dino"} <= watched.ran()
    model.segment(image, listed(Task.PANOPTIC, ("spoon", "saucer", "sky")))
    assert watched.ran() - LISTED == {"text", "detr"}
    model.segment(image, listed(Task.SEMANTIC, ("spoon", "saucer", "sky")))
    assert watched.ran() <= LISTED
    model.segment(model.open(pixels[::-1].copy()), listed(Task.PANOPTIC))
    assert watched.ran() - LISTED == {"image", "detr", "mask_dino"}


def test_all_tasks_of_a_list(watched: Watched, pixels: np.ndarray) -> None:
    model, image = watched.model, watched.model.open(pixels)
    (objects,), (scene,), (areas,) = (
        model.segment(image, listed(task)) for task in (Task.INSTANCE, Task.PANOPTIC, Task.SEMANTIC)
    )
    assert isinstance(objects, Instances) and isinstance(scene, PanopticMap) and isinstance(areas, SemanticMap)
    assert objects.masks.shape[1:] == scene.ids.shape == areas.classes.shape == pixels.shape[:2]
    assert len(objects.masks) and set(objects.labels) == {"cup"}, "proposals are things"
    assert (objects.scores > 0).all() and (np.diff(objects.scores) <= 0).all()
    assert {details["query"] for details in objects.instance_details} <= set(range(20))
    assert set(np.unique(areas.classes)) <= {0, 1, 2}
    assert all(segment.is_thing == THINGS[segment.class_index] for segment in scene.segments)


def test_a_list_without_things_is_answered_by_all_queries(watched: Watched, pixels: np.ndarray) -> None:
    request = listed(Task.INSTANCE, ("wall", "table"), (False, False))
    (found,) = watched.model.segment(watched.model.open(pixels), request)
    assert isinstance(found, Instances) and set(found.labels) <= {"wall", "table"} and len(found.masks)


def test_a_class_is_its_likeliest_name(watched: Watched, pixels: np.ndarray) -> None:
    """Of two names of one class, the better one's score."""
    image = watched.model.open(pixels)
    apart = Classes(("cup", "mug"), Task.INSTANCE.value)
    (found,) = watched.model.segment(image, Classes(("cup",), Task.INSTANCE.value, synonyms=(("mug",),)))
    (both,) = watched.model.segment(image, apart)
    assert isinstance(found, Instances) and isinstance(both, Instances)
    assert found.labels == ("cup",) * len(found.labels) and found.score == both.score


def test_objects_have_their_parts(watched: Watched, pixels: np.ndarray) -> None:
    request = Classes(("cup",), Task.PARTS.value, parts=(("cup", ("handle", "rim")), ("dog", ("head",))))
    (found,) = watched.model.segment(watched.model.open(pixels), request)
    (plain,) = watched.model.segment(watched.model.open(pixels), listed(Task.INSTANCE, ("cup",), (True,)))
    assert isinstance(found, Instances) and isinstance(plain, Instances)
    assert np.array_equal(found.masks, plain.masks)
    certain = [row for row, score in enumerate(found.scores) if score > 0.5]
    parts = [(row, part) for row, own in enumerate(found.instance_details) for part in own["parts"]]
    assert certain and parts and {row for row, _ in parts} <= set(certain)
    for row, part in parts:
        mask = decode_rle(part["segmentation"])
        assert part["name"] in {"handle", "rim"} and part["area_px"] == mask.sum() > 100
        assert not (mask & ~found.masks[row]).any()


def test_a_part_of_what_an_expression_refers_to(watched: Watched, pixels: np.ndarray) -> None:
    """Inside the object that the expression alone gives; one map of parts serves all texts."""
    model = watched.model
    texts = ("the cup: wheel", "the saucer: door")
    found = model.segment(model.open(pixels), Expressions(texts, Task.REFERRING_PARTS.value))
    assert sum(call.inputs["token_ids"].shape[0] == 2 for call in watched.graphs.calls["text"]) == 1
    alone = model.segment(model.open(pixels), Expressions(("the cup", "the saucer"), Task.REFERRING.value))
    for text, part, whole in zip(texts, found, alone, strict=True):
        assert isinstance(part, Instances) and isinstance(whole, Instances)
        assert (part.asked, part.labels, part.task) == ((text,), (text,) * len(whole.masks), "referring parts")
        assert np.array_equal(part.scores, whole.scores) and not (part.masks & ~whole.masks).any()
        (own,) = part.instance_details
        assert np.array_equal(decode_rle(own["object"]["segmentation"]), whole.mask)
        assert bool(own["part_names"]) == part.masks.any()


def test_the_parts_that_an_expression_may_name(watched: Watched) -> None:
    """Before any work is done; coarser names are fewer."""
    for text, message in (
        ("the cup", "does not name an object and its part"),
        ("the cup: lid", "no part is called 'lid'"),
    ):
        with pytest.raises(PromptError, match=message):
            watched.model.check(Expressions(("the dog: ear", text), Task.REFERRING_PARTS.value), with_image=True)
    coarse = watched.model.dims.options.model_copy(update={"use_coarse": True})
    watched.model.dims = watched.model.dims.model_copy(update={"options": coarse})
    with pytest.raises(PromptError, match="no part is called 'ear'"):
        watched.model.check(Expressions(("the dog: ear",), Task.REFERRING_PARTS.value), with_image=True)
    assert not watched.ran()


def test_a_scene_in_parts(watched: Watched, pixels: np.ndarray) -> None:
    """The segments of the plain scene, but for objects that gave way."""
    model = watched.model
    request = Classes(NAMES, Task.PANOPTIC_PARTS.value, THINGS, (("cup", ("handle", "body")),))
    (found,) = model.segment(model.open(pixels), request)
    (plain,) = model.segment(model.open(pixels), listed(Task.PANOPTIC))
    assert isinstance(found, PanopticMap) and isinstance(plain, PanopticMap)
    assert found.task == "panoptic parts" and found.asked[: len(NAMES)] == NAMES
    parts = {number for group in found.details["parts_of_objects"] for number in group}
    assert {segment for segment in found.segments if segment.id not in parts} <= set(plain.segments)
    assert np.isin(found.ids[found.ids != plain.ids], [0, *parts]).all()


def test_a_text_in_pieces_is_one_text(watched: Watched, pixels: np.ndarray) -> None:
    """The 200 names of parts take more tokens than the text encoder reads at once."""
    (found,) = watched.model.segment(watched.model.open(pixels), Classes(("dog",), Task.PARTS.value))
    assert isinstance(found, Instances) and all("parts" in own for own in found.instance_details)
    pieces = [call.inputs["token_ids"].shape for call in watched.graphs.calls["text"]]
    assert pieces[-1] == (2, 512)


def test_an_image_that_is_too_narrow_is_refused(watched: Watched) -> None:
    image = watched.model.open(np.zeros((10, 300, 3), np.uint8))
    with pytest.raises(ImageError, match="sees it as 256 x 9 px and needs 64 px on each side"):
        watched.model.segment(image, Expressions(("the cup",), Task.REFERRING.value))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "the class list is empty"),
        (("cup", "(none)"), r"class 2 of 2, '\(none\)', leaves no word to look for"),
        (("cup " * 600,), "a name takes more than 510 tokens"),
        (("x",) * 4096, "the text takes 8193 tokens, at most 8192 are read"),
    ],
)
def test_lists_that_cannot_be_asked(watched: Watched, names: tuple[str, ...], message: str) -> None:
    """Before any work is done."""
    request = Classes(names, Task.INSTANCE.value)
    with pytest.raises(PromptError, match=message):
        watched.model.check(request, with_image=True)
    with pytest.raises(PromptError, match=message):
        watched.model.segment(watched.model.open(None), request)
    assert not watched.ran()
