"""From texts about a frame to what the language model makes of them."""

from collections.abc import Iterator, Sequence

from hyperseg_runtime.families.instructseg.prompts import Task, expression_of, segmentation_prompt
from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions
from hyperseg_runtime.families.instructseg.state import InstructsegImage, view_keys
from hyperseg_runtime.families.mask_queries.masks import Asked
from hyperseg_runtime.llm.prompt import Prompt
from hyperseg_runtime.llm.tokenizer import Tokenizer


class Reader:
    """Reads expressions; `check` says beforehand whether they can be read."""

    def __init__(self, dims: InstructsegDimensions, tokenizer: Tokenizer) -> None:
        self._dims = dims
        self._tokenizer = tokenizer

    def check(self, task: Task, texts: Sequence[str], references: int) -> None:
        """Raises PromptError for texts that cannot be asked of a frame with so many references."""
        for text in texts:
            expression = expression_of(task, text, self._tokenizer, self._dims)
            views = view_keys(expression.token_ids, references)
            segmentation_prompt(task, expression, views, self._tokenizer, self._dims)

    def prompts(self, image: InstructsegImage, task: Task, texts: Sequence[str]) -> list[Prompt]:
        """Raises PromptError."""
        expressions = [expression_of(task, text, self._tokenizer, self._dims) for text in texts]
        views = image.views([expression.token_ids for expression in expressions])
        return [
            segmentation_prompt(task, expression, of_text, self._tokenizer, self._dims)
            for expression, of_text in zip(expressions, views, strict=True)
        ]

    def read(self, image: InstructsegImage, task: Task, texts: Sequence[str]) -> Iterator[Asked]:
        """One for each text, in order. Raises PromptError before any work."""
        states = image.prefill(self.prompts(image, task, texts))
        return (Asked(found, (text,), task.value) for found, text in zip(states, texts, strict=True))
