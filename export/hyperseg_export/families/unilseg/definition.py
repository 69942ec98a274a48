"""From a UniLSeg checkpoint to a ModelDefinition."""

from collections.abc import Mapping

from hyperseg_export.checkpoint.lora import MergedCheckpoint
from hyperseg_export.checkpoint.tokenizer_files import to_json
from hyperseg_export.families.unilseg.clip_tokenizer import clip_tokenizer
from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.graphs import build_graph
from hyperseg_export.families.unilseg.key_map import rules
from hyperseg_export.model import ModelDefinition
from hyperseg_runtime.errors import CheckpointError, InputError
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE


def define(checkpoint: MergedCheckpoint, context: int | None = None) -> ModelDefinition:
    """Raises CheckpointError where config and shapes disagree, InputError where cache slots were asked for."""
    if context is not None:
        raise InputError("UniLSeg has no language model and so no context; leave --context out")
    config = UnilsegConfig.from_checkpoint(checkpoint.base.config, checkpoint.shapes)
    tokenizer = clip_tokenizer()
    if tokenizer.get_vocab_size() != config.text.token_rows:
        raise CheckpointError(
            f"checkpoint {checkpoint.base.directory}: the embedding table has {config.text.token_rows} rows, CLIP's "
            f"tokenizer knows {tokenizer.get_vocab_size()} tokens; this is no published UniLSeg"
        )
    return definition_of(config, {TOKENIZER_FILE: to_json(tokenizer)})


def definition_of(config: UnilsegConfig, files: Mapping[str, bytes]) -> ModelDefinition:
    return ModelDefinition(
        dimensions=config.dimensions(),
        rules=rules(config),
        build_graph=lambda name: build_graph(name, config),
        files=files,
    )
