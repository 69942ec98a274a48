"""A tokenizer in which every word of the made scenes is one token."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperseg_bench.quality.datasets.shapes import expressions, questions
from hyperseg_bench.quality.datasets.shapes.things import ANY, PLURALS, SHAPES, VALUES
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer, special_id
from hyperseg_export.families.mask_queries.made_tokenizer import END_OF_TEXT, SEG, write_tokenizer
from hyperseg_runtime.families.hyperseg.prompts import TEMPLATES
from hyperseg_runtime.families.mask_queries.prompts import SYSTEM, TAG
from hyperseg_runtime.llm.tokenizer import Tokenizer

MOST_TOKENS = 2000
"""More than the words give: merging ends by itself."""


@dataclass(frozen=True)
class Vocabulary:
    tokenizer: Tokenizer
    rows: int
    special_ids: dict[str, int]

    @classmethod
    def make(cls, folder: Path, max_length: int) -> "Vocabulary":
        """Write the tokenizer's files into `folder` and read them as an export does."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = write_tokenizer(folder, max_length, texts(), MOST_TOKENS)
        stored: Any = load_tokenizer(folder)
        fast = folder / "tokenizer.json"
        stored.save(str(fast))
        tokenizer = Tokenizer(fast)
        fast.unlink()
        return cls(
            tokenizer, rows, {"seg": special_id(stored, SEG, folder), "eos": special_id(stored, END_OF_TEXT, folder)}
        )


def texts() -> Iterator[str]:
    """What the merges are learned from: all words, with and without a space before them."""
    yield SYSTEM
    for template in TEMPLATES.values():
        for side in (f" USER: {template.human} ASSISTANT:", template.answer):
            yield from filter(None, TAG.split(side))
    nouns = [PLURALS.get(noun, noun + "s") for noun in (*SHAPES, ANY)]
    words = [*(value for values in VALUES.values() for value in values), ANY, *nouns, *expressions.EXTREMES]
    words += [word for phrase in expressions.RELATIONS for word in phrase.split()]
    words += [answer for answers in questions.ANSWERS.values() for answer in answers]
    words += "the all is there a what how many are colour shape".split()
    for word in words:
        yield f"{word} {word}"
