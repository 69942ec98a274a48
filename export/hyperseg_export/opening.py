"""A checkpoint understood: its family, its dimensions, and where each of our tensors comes from."""

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.key_map import check_equal
from hyperseg_export.checkpoint.lora import MergedCheckpoint, with_adapters
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer, special_id
from hyperseg_export.families import detect_family
from hyperseg_export.model import PlannedModel, plan_model
from hyperseg_runtime.bundle.manifest import Coverage
from hyperseg_runtime.errors import CheckpointError


@dataclass(frozen=True)
class CheckpointModel:
    """A planned model together with the folder it came from."""

    checkpoint: MergedCheckpoint
    tokenizer: Tokenizer
    model: PlannedModel

    def coverage(self) -> Coverage:
        """Where every byte of the checkpoint goes."""
        bytes_of, key_map = self.checkpoint.bytes_of, self.model.key_map
        used = {source for origin in key_map.origins.values() for source in origin.sources}
        unused: dict[str, int] = {}
        for name, reason in sorted(key_map.dropped.items()):
            unused[reason] = unused.get(reason, 0) + bytes_of(name)
        return Coverage(
            tensors=len(self.checkpoint.names),
            loaded_bytes=sum(bytes_of(name) for name in used),
            checked_bytes=sum(bytes_of(name) for name in key_map.checked),
            unused_bytes=unused,
        )


def open_checkpoint(directory: Path, adapter: Path | None = None, context: int | None = None) -> CheckpointModel:
    """Open, understand and check a checkpoint folder. Raises CheckpointError before any work is done.

    `adapter` is a folder with a LoRA adapter, `context` the cache slots of the language model.
    """
    checkpoint = with_adapters(Checkpoint.open(directory), adapter)
    family = detect_family(checkpoint.names)
    tokenizer = load_tokenizer(directory)
    ids = {role: special_id(tokenizer, token, directory) for role, token in family.special_tokens.items()}
    plan = family.plan(checkpoint.base.config, checkpoint.shapes, context)
    model = plan_model(family.name, plan, checkpoint, ids)
    rows = model.plan.tables["embeddings.tokens"][0]
    if tokenizer.get_vocab_size() > rows:
        raise CheckpointError(
            f"checkpoint {directory}: the tokenizer knows {tokenizer.get_vocab_size()} tokens, "
            f"the embedding table has {rows} rows"
        )
    check_equal(model.key_map, checkpoint)
    return CheckpointModel(checkpoint, tokenizer, model)
