"""What PSALM tells the rest of the runtime."""

from collections.abc import Mapping
from typing import Any

from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.families.family import FamilySpec, ProfileHints, Task
from hyperseg_runtime.families.mask_queries.listed import ListTask
from hyperseg_runtime.families.mask_queries.merged import merging_tasks
from hyperseg_runtime.families.mask_queries.profiles import llm_hints
from hyperseg_runtime.families.psalm import tasks
from hyperseg_runtime.families.psalm.image_inputs import image_inputs
from hyperseg_runtime.families.psalm.model import PsalmModel
from hyperseg_runtime.families.psalm.printed import NOTE, PRINTED
from hyperseg_runtime.families.psalm.published import PUBLISHED
from hyperseg_runtime.families.psalm.spec import PsalmDimensions, graph_specs
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE

TASKS = (
    Task(tasks.Task.REFERRING.value, Expressions, "the object that an expression names"),
    Task(
        tasks.Task.UNION.value,
        Expressions,
        "all that an expression names, in one mask: every query that scores above 0.6, or the best (for gRefCOCO)",
    ),
    Task(tasks.Task.UNION_OR_NONE.value, Expressions, "the same, and a mask without pixels where none scores so high"),
    Task(ListTask.INSTANCE.value, Classes, "objects with their class, all names in one prompt"),
    Task(ListTask.PANOPTIC.value, Classes, "segments of things and stuff, all names in one prompt"),
    Task(ListTask.SEMANTIC.value, Classes, "a class for every pixel, all names in one prompt", scored=False),
    Task(tasks.REGION, Regions, "the object at each point, box, scribble or mask"),
)
VIDEO_TASKS = (
    Task(tasks.TRACKING, Regions, "the object at each region of the first frame, in each frame"),
    *merging_tasks(Regions),
)


def specs(dimensions: Mapping[str, Any]) -> tuple[GraphSpec, ...]:
    return graph_specs(PsalmDimensions.model_validate(dimensions))


def tables(dimensions: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return PsalmDimensions.model_validate(dimensions).tables()


def profile_hints(spec: GraphSpec) -> ProfileHints:
    """No token is generated, so that no profile is for one alone."""
    hints = llm_hints(spec)
    return ProfileHints(split={name: axes for name, axes in hints.split.items() if name != "decode"})


FAMILY = FamilySpec(
    name="psalm",
    title="PSALM",
    paper="arXiv 2403.14598",
    licence=(
        "code Apache-2.0; weights built on Phi-1.5 (MIT), no licence of their own was found; the Mask2Former weights "
        "that their segmentation part began with are CC BY-NC 4.0 according to its issue tracker: check before "
        "commercial use"
    ),
    tasks=TASKS,
    video_tasks=VIDEO_TASKS,
    graph_specs=specs,
    open_model=PsalmModel,
    published=PUBLISHED.model_dump(mode="json"),
    image_inputs=image_inputs,
    tables=tables,
    files=(TOKENIZER_FILE,),
    profile_hints=profile_hints,
    warm_up=(
        Expressions(("the object",)),
        Expressions(("the object on the left",)),
    ),
    lacks={Question.kind: "its release segments only: it has no prompt for questions and writes no answers"},
    data_sets=("refcoco", "refcoco+", "refcocog", "grefcoco", "coco-panoptic", "coco-instances", "ade20k"),
    printed=PRINTED,
    printed_note=NOTE,
)
