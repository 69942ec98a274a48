"""The tokenizer of a checkpoint and the ids that its model reserves."""

from dataclasses import dataclass
from pathlib import Path

from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer, special_id, to_json
from hyperseg_export.families.mask_queries.made_tokenizer import END_OF_TEXT, SEG
from hyperseg_runtime.errors import CheckpointError


@dataclass(frozen=True)
class SpecialTokens:
    seg: int
    """Stands for a mask."""
    eos: int
    """Ends a text."""
    tokens: int
    """All that the tokenizer knows."""
    tokenizer_json: bytes

    @classmethod
    def of(cls, directory: Path) -> "SpecialTokens":
        """Of a checkpoint folder. Raises CheckpointError for one without a tokenizer, or without one of the two."""
        tokenizer = load_tokenizer(directory)
        seg, eos = (special_id(tokenizer, token, directory) for token in (SEG, END_OF_TEXT))
        return cls(seg, eos, tokenizer.get_vocab_size(), to_json(tokenizer))

    def check_rows(self, token_rows: int, directory: Path) -> None:
        """Raise CheckpointError if some token has no embedding."""
        if self.tokens > token_rows:
            raise CheckpointError(
                f"checkpoint {directory}: the tokenizer knows {self.tokens} tokens, the embedding table has "
                f"{token_rows} rows"
            )
