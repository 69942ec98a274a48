"""What HIPIE tells the rest of the runtime."""

from collections.abc import Mapping
from typing import Any

from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.families.family import VIDEO, FamilySpec
from hyperseg_runtime.families.family import Task as FamilyTask
from hyperseg_runtime.families.hipie.image_inputs import image_inputs
from hyperseg_runtime.families.hipie.model import HipieModel
from hyperseg_runtime.families.hipie.part_query import FORM
from hyperseg_runtime.families.hipie.printed import NOTE, PRINTED
from hyperseg_runtime.families.hipie.published import PUBLISHED
from hyperseg_runtime.families.hipie.spec import HipieDimensions, graph_specs
from hyperseg_runtime.families.hipie.tasks import Task
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE

TASKS = (
    FamilyTask(Task.REFERRING.value, Expressions, "the object that an expression refers to (the release's grounding)"),
    FamilyTask(
        Task.REFERRING_PARTS.value,
        Expressions,
        "a part of the object that an expression refers to, by its name",
        form=FORM,
    ),
    FamilyTask(Task.INSTANCE.value, Classes, "objects with their class, all names in one text"),
    FamilyTask(Task.PANOPTIC.value, Classes, "segments of things and stuff, all names in one text"),
    FamilyTask(Task.SEMANTIC.value, Classes, "a class for every pixel, all names in one text", scored=False),
    FamilyTask(Task.PARTS.value, Classes, "objects with their class and their parts, those asked or the release's 200"),
    FamilyTask(
        Task.PANOPTIC_PARTS.value, Classes, "segments of things and stuff, things that their parts cover as parts"
    ),
)


def specs(dimensions: Mapping[str, Any]) -> tuple[GraphSpec, ...]:
    return graph_specs(HipieDimensions.model_validate(dimensions))


FAMILY = FamilySpec(
    name="hipie",
    title="HIPIE",
    paper="arXiv 2307.00764",
    licence=(
        "code MIT, but for its CLIP part, which is non-commercial and not used here; no licence of the weights was "
        "found; BERT's vocabulary Apache-2.0"
    ),
    tasks=TASKS,
    lacks={
        Question.kind: "it has no language model that writes",
        Regions.kind: "its only prompt is a text",
        VIDEO: "it sees each image alone; run it on the frames one by one",
    },
    graph_specs=specs,
    open_model=HipieModel,
    published=PUBLISHED.model_dump(mode="json"),
    image_inputs=image_inputs,
    files=(TOKENIZER_FILE,),
    warm_up=(
        Expressions(("the object",)),
        Expressions(("the object on the left",)),
        Classes(("object", "ground"), Task.PANOPTIC.value, things=(True, False)),
    ),
    data_sets=("refcoco", "refcoco+", "refcocog", "coco-panoptic", "coco-instances", "ade20k"),
    printed=PRINTED,
    printed_note=NOTE,
)
