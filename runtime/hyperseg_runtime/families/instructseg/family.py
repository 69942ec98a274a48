"""What InstructSeg tells the rest of the runtime."""

from collections.abc import Mapping
from typing import Any

from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.families.family import FamilySpec, Task
from hyperseg_runtime.families.instructseg import prompts
from hyperseg_runtime.families.instructseg.image_inputs import image_inputs
from hyperseg_runtime.families.instructseg.model import InstructsegModel
from hyperseg_runtime.families.instructseg.printed import NOTE, PRINTED
from hyperseg_runtime.families.instructseg.published import PUBLISHED
from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions, graph_specs
from hyperseg_runtime.families.mask_queries.merged import merging_tasks
from hyperseg_runtime.families.mask_queries.profiles import llm_hints
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE

TASKS = (
    Task(prompts.Task.REFERRING.value, Expressions, "the object that an expression names"),
    Task(prompts.Task.REASONING.value, Expressions, "the object that a sentence hints at"),
    Task(prompts.Task.QUESTION.value, Question, "a question about the image, or about none"),
)
VIDEO_TASKS = (
    Task(prompts.Task.VIDEO.value, Expressions, "the object that an expression names, in each frame"),
    Task(prompts.Task.VIDEO_REASONING.value, Expressions, "the object that a sentence hints at, in each frame"),
    *merging_tasks(Expressions),
)


def specs(dimensions: Mapping[str, Any]) -> tuple[GraphSpec, ...]:
    return graph_specs(InstructsegDimensions.model_validate(dimensions))


def tables(dimensions: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return InstructsegDimensions.model_validate(dimensions).tables()


FAMILY = FamilySpec(
    name="instructseg",
    title="InstructSeg",
    paper="arXiv 2412.14006",
    licence=(
        "code Apache-2.0; weights without a statement of their own that is known here, built on Phi-2 (MIT) and SigLIP "
        "(Apache-2.0): check before commercial use"
    ),
    tasks=TASKS,
    video_tasks=VIDEO_TASKS,
    lacks={
        Classes.kind: "it has no heads for class lists; ask for each class as an expression",
        Regions.kind: "it has no heads for regions; its only prompt is a text",
    },
    graph_specs=specs,
    open_model=InstructsegModel,
    published=PUBLISHED.model_dump(mode="json"),
    image_inputs=image_inputs,
    tables=tables,
    files=(TOKENIZER_FILE,),
    host_reads=("image_tokens",),
    profile_hints=llm_hints,
    warm_up=(
        Expressions(("the object",)),
        Expressions(("the object on the left",)),
        Question("What is there?", max_tokens=2),
    ),
    data_sets=("refcoco", "refcoco+", "refcocog", "reasonseg", "ref-davis", "ref-youtube-vos", "revos"),
    printed=PRINTED,
    printed_note=NOTE,
)
