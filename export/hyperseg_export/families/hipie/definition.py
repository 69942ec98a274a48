"""How a HIPIE checkpoint becomes graphs."""

from collections.abc import Mapping

from hyperseg_export.checkpoint.lora import MergedCheckpoint
from hyperseg_export.checkpoint.tokenizer_files import to_json
from hyperseg_export.families.hipie.bert_tokenizer import bert_tokenizer
from hyperseg_export.families.hipie.config import HipieConfig
from hyperseg_export.families.hipie.graphs import build_graph
from hyperseg_export.families.hipie.key_map import rules
from hyperseg_export.model import ModelDefinition
from hyperseg_runtime.errors import CheckpointError, InputError
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE


def define(checkpoint: MergedCheckpoint, context: int | None = None) -> ModelDefinition:
    """Raises CheckpointError where config and shapes disagree, InputError where cache slots were asked for."""
    if context is not None:
        raise InputError("HIPIE has no language model and so no context; leave --context out")
    config = HipieConfig.from_checkpoint(checkpoint.base.config, checkpoint.shapes)
    tokenizer = bert_tokenizer()
    if tokenizer.get_vocab_size() != config.text.token_rows:
        raise CheckpointError(
            f"checkpoint {checkpoint.base.directory}: the embedding table has {config.text.token_rows} rows, BERT's "
            f"tokenizer knows {tokenizer.get_vocab_size()} tokens; this is no published HIPIE"
        )
    return definition_of(config, {TOKENIZER_FILE: to_json(tokenizer)})


def definition_of(config: HipieConfig, files: Mapping[str, bytes]) -> ModelDefinition:
    return ModelDefinition(
        dimensions=config.dimensions(),
        rules=rules(config),
        build_graph=lambda name: build_graph(name, config),
        files=files,
    )
