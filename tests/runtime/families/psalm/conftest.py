"""The published model's dimensions and tokenizer, and golden arrays."""

import json
from pathlib import Path
from typing import Any

import pytest

from hyperseg_runtime.families.psalm.published import PUBLISHED
from hyperseg_runtime.families.psalm.spec import PsalmDimensions
from hyperseg_runtime.llm.tokenizer import Tokenizer
from support import phi_tokenizer

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
def real_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The tokenizer of PSALM as published."""
    return phi_tokenizer(tmp_path_factory.mktemp("tokenizer"), "[PAD]", "[SEG]")
