"""A part of an object that an expression refers to: "the dog on the left: head" (hipie-spec 14)."""

from collections.abc import Sequence
from dataclasses import dataclass

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hipie.part_names import PartName
from hyperseg_runtime.families.hipie.parts import is_asked, shown_name
from hyperseg_runtime.llm.tokenizer import require_text

SEPARATOR = ": "
"""The last one counts: an expression may hold others, a part's name does not."""
FORM = f"the dog on the left{SEPARATOR}head"


@dataclass(frozen=True)
class PartQuery:
    """The expression, and the part's name in small letters."""

    expression: str
    part: str

    @classmethod
    def of(cls, text: str, names: Sequence[PartName]) -> "PartQuery":
        """Raises PromptError for a text without an object or a part, and for a part that none of `names` can be."""
        require_text(text)
        expression, separator, part = text.rpartition(SEPARATOR)
        query = cls(expression.strip(), part.strip().lower())
        if not (separator and query.expression and query.part):
            raise PromptError(f"{text!r} does not name an object and its part; write both, such as {FORM!r}")
        known = sorted({shown_name(owner, name) for owner, name in names if name})
        if not any(is_asked(query.part, name) for name in known):
            raise PromptError(f"no part is called {query.part!r}; the model knows {', '.join(known)}")
        return query
