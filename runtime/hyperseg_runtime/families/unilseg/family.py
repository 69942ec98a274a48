"""What UniLSeg tells the rest of the runtime."""

from collections.abc import Mapping
from typing import Any

from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.families.family import VIDEO, FamilySpec, Task
from hyperseg_runtime.families.unilseg.image_inputs import image_inputs
from hyperseg_runtime.families.unilseg.model import CLASS_LIST, REFERRING, UnilsegModel
from hyperseg_runtime.families.unilseg.printed import NOTE, PRINTED
from hyperseg_runtime.families.unilseg.published import PUBLISHED
from hyperseg_runtime.families.unilseg.spec import UnilsegDimensions, graph_specs
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE


def specs(dimensions: Mapping[str, Any]) -> tuple[GraphSpec, ...]:
    return graph_specs(UnilsegDimensions.model_validate(dimensions))


FAMILY = FamilySpec(
    name="unilseg",
    title="UniLSeg",
    paper="arXiv 2312.01623",
    licence=(
        "code MIT, its notice names the author of CRIS; the weights (UniLSeg20_no_finetune.pth) come without a "
        "statement of their own"
    ),
    tasks=(
        Task(REFERRING, Expressions, "what an expression refers to, an object or a part of one; the mask may be empty"),
        Task(CLASS_LIST, Classes, "each class of a list, asked for one by one as an expression", apart=True),
    ),
    lacks={
        Question.kind: "it has no language model that writes",
        Regions.kind: "its only prompt is a sentence",
        VIDEO: "it sees each image alone; run it on the frames one by one",
    },
    graph_specs=specs,
    open_model=UnilsegModel,
    published=PUBLISHED.model_dump(mode="json"),
    image_inputs=image_inputs,
    files=(TOKENIZER_FILE,),
    warm_up=(Expressions(("the object",)), Expressions(("the object on the left",))),
    data_sets=("refcoco", "refcoco+", "refcocog", "grefcoco"),
    printed=PRINTED,
    printed_note=NOTE,
)
