"""What a model family tells the rest of the runtime: data, a few functions, and what an opened model can do.

A family answers some requests in some tasks, and says in one sentence why it does not answer the others. Verbs,
sessions, server and page read that declaration; none of them knows a family by its name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import TableShapes
from hyperseg_runtime.contracts.graph_spec import AxisRange, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions, Request, SegmentationRequest
from hyperseg_runtime.contracts.results import Result
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.printed import PrintedNumber
from hyperseg_runtime.llm.answers import Answer

VIDEO = "video"
"""Name of the capability in `FamilySpec.lacks`, beside the kinds of requests."""


class ImageState(Protocol):
    """What a model keeps of one image between requests. What may be kept is the family's own rule."""

    @property
    def size_bytes(self) -> int:
        """Memory held now; grows as parts are computed."""
        ...


State = TypeVar("State", bound=ImageState)
Asked = TypeVar("Asked", bound=ImageState, contravariant=True)


class Segmenter(Protocol[State]):
    """A family opened on a bundle: what every family can do. Requests are checked before any work (PromptError)."""

    def open(self, image_hwc_u8: np.ndarray | None) -> State:
        """State of an image, or of text alone (None); nothing is computed yet."""
        ...

    def open_computed(self, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> State:
        """State of an image of this size whose `Reuse.IMAGE` graphs were run elsewhere; `outputs` are
        those of `FamilySpec.computed_outputs`, by name.
        """
        ...

    def check(self, request: Request, with_image: bool) -> None:
        """Raise PromptError or InputError for what `segment` or `ask` would refuse; nothing is computed. Whoever asks
        several things at once is refused before the first of them.
        """
        ...

    def segment(self, image: State, request: SegmentationRequest) -> list[Result]:
        """As many results as the request asks for; `request.task` is one of the family's."""
        ...

    def exercise(self, image_hwc_u8: np.ndarray) -> None:
        """Run every graph at least once as real requests do, and as few times as that takes: for parity checks."""
        ...

    def close(self) -> None:
        """Give up what is kept between images; no request follows."""
        ...


class Answerer(Protocol[Asked]):
    """A family whose model answers in words."""

    def ask(self, image: Asked, question: Question) -> Answer:
        """An answer that is computed while it is iterated."""
        ...


@dataclass(frozen=True)
class FrameResults:
    """Results of frame `frame` (from 0) of a video."""

    frame: int
    results: tuple[Result, ...]


VideoRequest = Expressions | Classes | Regions
"""What is asked of a frame. Regions are of the frame that they are pushed with; one that is pushed with none is asked
for those given before. Objects of a class list are numbered through all frames (`results.TRACK`)."""
AskedOfFrame = TypeVar("AskedOfFrame", bound=VideoRequest)


class VideoState(Protocol):
    """A video that is being seen. A frame that fails leaves it as it was."""

    def push(self, frame_hwc_u8: np.ndarray, request: Any) -> list[FrameResults]:
        """Take the next frame; gives the results that are ready, of this frame or of earlier ones. `request` is a
        VideoRequest in one of the family's tasks for videos.
        """
        ...

    def finish(self) -> list[FrameResults]:
        """The video has ended: the results that are still missing."""
        ...


class VideoSegmenter(Protocol):
    """A family that sees the frames of a video in the light of others."""

    def open_video(self) -> VideoState: ...


@dataclass(frozen=True)
class Task:
    """One of the ways in which a family answers a kind of request."""

    name: str
    request: type[Request]
    about: str
    apart: bool = False
    """Each class of a list is answered by itself: a list may be asked in parts (see `results.joined`)."""
    writes: bool = False
    """The model writes before it segments, token by token, as it does for every question."""
    scored: bool = True
    """What is found has scores; a semantic map has none."""
    form: str | None = None
    """An example of how its texts must be written, where not any text will do."""


Axes = Mapping[str, AxisRange]


@dataclass(frozen=True)
class ProfileHints:
    """How engines of one graph are tuned, beyond its axis ranges.

    split    name of an optimisation profile -> the axes that differ in it; empty for one profile
    presets  name of a use beside latency and throughput -> the axes that differ for it
    """

    split: Mapping[str, Axes] = field(default_factory=dict)
    presets: Mapping[str, Axes] = field(default_factory=dict)


NO_HINTS = ProfileHints()


def no_hints(spec: GraphSpec) -> ProfileHints:
    return NO_HINTS


@dataclass(frozen=True)
class FamilySpec:
    name: str
    title: str
    paper: str
    licence: str
    """What the authors of code and weights state."""
    tasks: tuple[Task, ...]
    """What is answered about an image; the first task of a kind of request is its default."""
    graph_specs: Callable[[Mapping[str, Any]], tuple[GraphSpec, ...]]
    """From the manifest's dimensions; raises pydantic.ValidationError when they are not this family's."""
    open_model: Callable[[Bundle, Mapping[str, Graph], Backend], Segmenter[Any]]
    """The model is also an Answerer if there are tasks for questions, a VideoSegmenter if there are `video_tasks`."""
    published: Mapping[str, Any]
    """Dimensions of the published model, as a manifest holds them."""
    image_inputs: Callable[[Bundle], Callable[[np.ndarray], dict[str, np.ndarray]]]
    """Opened on a bundle: RGB (H, W, 3) uint8 -> the inputs of the image graphs that no other graph makes."""
    warm_up: tuple[Request, ...]
    """Requests about one image that together run every graph as callers will: whole, reused, token by token."""
    video_tasks: tuple[Task, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Kind of request, or VIDEO -> why this family does not answer it, in one sentence."""
    tables: Callable[[Mapping[str, Any]], TableShapes] = lambda dimensions: {}
    """From the manifest's dimensions: the host's tables."""
    files: tuple[str, ...] = ()
    """Further files of a bundle that the host reads, such as a tokenizer."""
    host_reads: tuple[str, ...] = ()
    """Outputs of image graphs that the host works on although an image graph takes them, such as rows of a prompt."""
    profile_hints: Callable[[GraphSpec], ProfileHints] = no_hints
    data_sets: tuple[str, ...] = ()
    """Names of the data sets that its authors report results on, and that `eval` can read."""
    printed: tuple[PrintedNumber, ...] = ()
    """What its authors print of the published weights on them."""
    printed_note: str = ""
    """What must be known to compare with those numbers."""

    def computed_outputs(self, graphs: Sequence[GraphSpec]) -> list[TensorSpec]:
        """What image graphs make for others: their outputs that a graph of another kind or the host works on, or that
        no image graph takes.
        """
        stages = [graph for graph in graphs if graph.reuse is Reuse.IMAGE]
        others = {t.name for graph in graphs if graph.reuse is not Reuse.IMAGE for t in graph.inputs}
        between = {t.name for graph in stages for t in graph.inputs} - others - {*self.host_reads}
        return [t for graph in stages for t in graph.outputs if t.name not in between]

    def answers(self, kind: type[Request]) -> tuple[str, ...]:
        """Names of the tasks for a kind of request, the default first."""
        return tuple(task.name for task in self.tasks if task.request is kind)

    def video_answers(self, kind: type[Request]) -> tuple[str, ...]:
        """The same for the frames of a video."""
        return tuple(task.name for task in self.video_tasks if task.request is kind)

    def task_of(self, request: Request) -> Task:
        """The task in which a request is answered that `with_task` gave."""
        return next(task for task in self.tasks if task.request is type(request) and task.name == request.task)

    def writes(self, request: Request) -> bool:
        """Whether the model writes words for a request that `with_task` gave: what it takes nobody knows before."""
        return isinstance(request, Question) or self.task_of(request).writes

    def require_scores(self, request: Request, min_score: float) -> None:
        """Raise InputError for a least score of what has no scores; `request` is in one of the family's tasks."""
        if min_score > 0 and not self.task_of(request).scored:
            scored = [task.name for task in self.tasks if task.request is type(request) and task.scored]
            raise InputError(
                f"the task {request.task} gives no scores, so that a least score of {min_score:g} chooses nothing; "
                f"leave it out, or choose the task {', '.join(scored)}"
            )

    def with_task(self, request: Request) -> Any:
        """`request` in one of the family's tasks. Raises InputError for a task or kind of request it does not know."""
        return _with_task(request, self.tasks, self, request.kind, request.kind)

    def with_video_task(self, request: AskedOfFrame) -> AskedOfFrame:
        """The same for the frames of a video."""
        what = f"{request.kind} about videos" if self.video_tasks else "videos"
        return cast(AskedOfFrame, _with_task(request, self.video_tasks, self, VIDEO, what))


def warm_up(family: FamilySpec, model: Any, image: ImageState) -> None:
    """Ask everything of `FamilySpec.warm_up` about one image of an opened model."""
    for request in family.warm_up:
        asked = family.with_task(request)
        if isinstance(asked, Question):
            model.ask(image, asked).finished()
        else:
            model.segment(image, asked)


def _with_task(request: Request, tasks: Sequence[Task], family: FamilySpec, capability: str, what: str) -> Request:
    names = [task.name for task in tasks if task.request is type(request)]
    if not names:
        known = sorted({f"{task.request.kind} ({task.name})" for task in (*family.tasks, *family.video_tasks)})
        why = family.lacks.get(capability) or family.lacks.get(request.kind, "it has no such task")
        raise InputError(f"{family.title} does not answer {what}: {why}; it answers {', '.join(known)}")
    if request.task is not None and request.task not in names:
        raise InputError(f"unknown task {request.task!r} for {request.kind}; {family.title} knows {', '.join(names)}")
    return replace(request, task=request.task or names[0])
