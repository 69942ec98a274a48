"""What HyperSeg tells the rest of the runtime."""

from collections.abc import Mapping
from typing import Any

from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.families.family import FamilySpec, ProfileHints, Task
from hyperseg_runtime.families.hyperseg import prompts
from hyperseg_runtime.families.hyperseg.image_inputs import image_inputs
from hyperseg_runtime.families.hyperseg.model import HypersegModel
from hyperseg_runtime.families.hyperseg.printed import NOTE, PRINTED
from hyperseg_runtime.families.hyperseg.published import PUBLISHED
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions, graph_specs
from hyperseg_runtime.families.mask_queries.listed import ListTask
from hyperseg_runtime.families.mask_queries.merged import merging_tasks
from hyperseg_runtime.families.mask_queries.profiles import llm_hints
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE

BY_CLASS_HEADS = "all names in one prompt; the release has the heads alone, the prompt and the rules are its ancestor's"

TASKS = (
    Task(prompts.Task.REFERRING.value, Expressions, "the object that an expression names"),
    Task(prompts.Task.REASONING.value, Expressions, "the object that a sentence hints at"),
    Task(
        prompts.Task.NAMING.value,
        Expressions,
        "whatever the model names when asked ('Name the animals.'): the paper's hybrid entity recognition, for which "
        "the released checkpoint was not trained",
        writes=True,
    ),
    Task(prompts.CLASS_LIST, Classes, "each class of a list, asked for one by one as an expression", apart=True),
    Task(ListTask.PANOPTIC.value, Classes, f"segments of things and stuff, {BY_CLASS_HEADS}"),
    Task(ListTask.SEMANTIC.value, Classes, f"a class for every pixel, {BY_CLASS_HEADS}", scored=False),
    Task(ListTask.INSTANCE.value, Classes, f"objects with their class, {BY_CLASS_HEADS}"),
    Task(
        prompts.RECOGNITION,
        Classes,
        "objects with their class: the model names what it sees of the list, masks follow, and both score the classes: "
        "the paper's hybrid entity recognition, for which the released checkpoint was not trained",
        writes=True,
    ),
    Task(
        prompts.REGION,
        Regions,
        "the object at each point, box, scribble or mask; the release has the heads, and neither prompt nor sampling",
    ),
    Task(prompts.Task.QUESTION.value, Question, "a question about the image, or about none"),
)
VIDEO_TASKS = (
    Task(prompts.Task.VIDEO.value, Expressions, "the object that a sentence names or hints at, in each frame"),
    *merging_tasks(Expressions),
    Task(
        prompts.TRACKING,
        Classes,
        "objects with their class in each frame, numbered through all: instances of frames, put together by how alike "
        "their mask queries are and how much their masks overlap, which is ours",
    ),
)


def specs(dimensions: Mapping[str, Any]) -> tuple[GraphSpec, ...]:
    return graph_specs(HypersegDimensions.model_validate(dimensions))


def tables(dimensions: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return HypersegDimensions.model_validate(dimensions).tables()


def profile_hints(spec: GraphSpec) -> ProfileHints:
    """Those of the language model, and that frames of a video read memory."""
    memory = spec.axis_ranges.get("memory_rows")
    if memory is None:
        return llm_hints(spec)
    return ProfileHints(presets={"video": {"memory_rows": memory.model_copy(update={"typical": memory.maximum})}})


FAMILY = FamilySpec(
    name="hyperseg",
    title="HyperSeg",
    paper="arXiv 2411.17606",
    licence=(
        "code Apache-2.0; weights tagged Apache-2.0, built on Phi-2 (MIT) and SigLIP (Apache-2.0); the Mask2Former "
        "weights that their segmentation part began with are CC BY-NC 4.0 according to its issue tracker: check before "
        "commercial use"
    ),
    tasks=TASKS,
    video_tasks=VIDEO_TASKS,
    graph_specs=specs,
    open_model=HypersegModel,
    published=PUBLISHED.model_dump(mode="json"),
    image_inputs=image_inputs,
    tables=tables,
    files=(TOKENIZER_FILE,),
    profile_hints=profile_hints,
    warm_up=(
        Expressions(("the object",)),
        Expressions(("the object on the left",)),
        Question("What is there?", max_tokens=2),
    ),
    data_sets=(
        "refcoco",
        "refcoco+",
        "refcocog",
        "grefcoco",
        "reasonseg",
        "coco-panoptic",
        "ade20k",
        "ref-davis",
        "revos",
    ),
    printed=PRINTED,
    printed_note=NOTE,
)
