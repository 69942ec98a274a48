"""From a PSALM checkpoint to a ModelDefinition."""

from collections.abc import Mapping

from hyperseg_export.checkpoint.lora import MergedCheckpoint
from hyperseg_export.families.mask_queries.special_tokens import SpecialTokens
from hyperseg_export.families.psalm.config import PsalmConfig
from hyperseg_export.families.psalm.graphs import build_graph
from hyperseg_export.families.psalm.key_map import rules
from hyperseg_export.model import ModelDefinition
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE


def define(checkpoint: MergedCheckpoint, context: int | None = None) -> ModelDefinition:
    """Raises CheckpointError where config, shapes and tokenizer disagree, or no prompt fits into `context` slots."""
    directory = checkpoint.base.directory
    tokens = SpecialTokens.of(directory)
    config = PsalmConfig.from_checkpoint(checkpoint.base.config, checkpoint.shapes, context)
    config.check_context()
    tokens.check_rows(config.token_rows, directory)
    return definition_of(config, tokens.seg, tokens.eos, {TOKENIZER_FILE: tokens.tokenizer_json})


def definition_of(config: PsalmConfig, seg: int, eos: int, files: Mapping[str, bytes]) -> ModelDefinition:
    """`seg` and `eos` are the ids of the tokens that close a condition and end a text."""
    return ModelDefinition(
        dimensions=config.dimensions(seg, eos),
        rules=rules(config),
        build_graph=lambda name: build_graph(name, config),
        files=files,
    )
