"""The prompts PSALM was trained with (psalm-spec 4). Wording, spelling and spaces are the release's."""

from collections.abc import Sequence

from hyperseg_runtime.families.mask_queries.prompts import assemble, condition, refuse_image_tags, region, sentence
from hyperseg_runtime.families.psalm.spec import PsalmDimensions
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, Prompt, Slot, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
CHAT = f"[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\n{{human}} [/INST] {{answer}}"
ANSWER = "\nSure, the segmentation result is <mask queries>"

REFERRING_PROMPT = CHAT.format(
    human="This is an image <image>, Please doing Referring Segmentation according to the following instruction:\n"
    "<expression>",
    answer=ANSWER,
)
# All evaluations of lists say "Panoptic", also those of instances and of semantic maps.
CLASS_PROMPT = CHAT.format(
    human="This is an image <image>, Please do Panoptic Segmentation.\n"
    "This is all the candidate categories: {conditions}.\n",
    answer=ANSWER,
)
REGION_PROMPT = CHAT.format(
    human="This is an image <image>, Please segment by given regions\nThis is all regions:  {conditions}.\n",
    answer="\n<answer><mask queries>",
)


def referring_prompt(text: str, tokenizer: Tokenizer, dims: PsalmDimensions) -> Prompt:
    """Of the user's text, which gets a leading space and a full stop. Raises PromptError for text that cannot be asked
    or does not fit.
    """
    refuse_image_tags(text)
    asked = f" {sentence(text)}" if text.strip() else text
    return assemble(REFERRING_PROMPT, _visual(dims), (condition(asked, tokenizer, dims),), tokenizer, dims)


def class_prompt(conditions: Sequence[Slot], tokenizer: Tokenizer, dims: PsalmDimensions) -> Prompt:
    """Of names, the last for "none of them". Raises PromptError for a list that does not fit."""
    return assemble(_listing(CLASS_PROMPT, len(conditions)), _visual(dims), conditions, tokenizer, dims)


def region_prompt(regions: Sequence[Dependencies], tokenizer: Tokenizer, dims: PsalmDimensions) -> Prompt:
    """One condition for each region, a row that depends on this. Raises PromptError where they do not fit."""
    conditions = [region(depends_on) for depends_on in regions]
    return assemble(_listing(REGION_PROMPT, len(regions)), _visual(dims), conditions, tokenizer, dims)


def _listing(template: str, conditions: int) -> str:
    return template.replace("{conditions}", ", ".join(["<condition>"] * conditions))


def _visual(dims: PsalmDimensions) -> dict[str, tuple[Slot, ...]]:
    return {"<image>": (Slot.block(SlotKind.IMAGE, dims.image_tokens, IMAGE),)}
