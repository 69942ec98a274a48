"""From a HyperSeg checkpoint to a ModelDefinition."""

from collections.abc import Mapping

from hyperseg_export.checkpoint.lora import MergedCheckpoint
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer, special_id, to_json
from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.graphs import build_graph
from hyperseg_export.families.hyperseg.key_map import rules
from hyperseg_export.families.hyperseg.tiny import END_OF_TEXT, SEG
from hyperseg_export.model import ModelDefinition
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE


def define(checkpoint: MergedCheckpoint, context: int | None = None) -> ModelDefinition:
    """Raises CheckpointError where config, shapes and tokenizer disagree, or no prompt fits into `context` slots."""
    directory = checkpoint.base.directory
    tokenizer = load_tokenizer(directory)
    seg, eos = (special_id(tokenizer, token, directory) for token in (SEG, END_OF_TEXT))
    config = HypersegConfig.from_checkpoint(checkpoint.base.config, checkpoint.shapes, context)
    config.check_context()
    if tokenizer.get_vocab_size() > config.token_rows:
        raise CheckpointError(
            f"checkpoint {directory}: the tokenizer knows {tokenizer.get_vocab_size()} tokens, "
            f"the embedding table has {config.token_rows} rows"
        )
    return definition_of(config, seg, eos, {TOKENIZER_FILE: to_json(tokenizer)})


def definition_of(config: HypersegConfig, seg: int, eos: int, files: Mapping[str, bytes]) -> ModelDefinition:
    """`seg` and `eos` are the ids of the tokens that stand for a mask and for the end of a text."""
    return ModelDefinition(
        dimensions=config.dimensions(seg, eos),
        rules=rules(config),
        build_graph=lambda name: build_graph(name, config),
        files=files,
    )
