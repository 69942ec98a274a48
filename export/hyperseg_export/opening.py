"""A checkpoint understood: its family, its dimensions, and where each of our tensors comes from."""

from dataclasses import dataclass
from pathlib import Path

from hyperseg_export.checkpoint.key_map import check_equal
from hyperseg_export.checkpoint.lora import MergedCheckpoint, with_adapters
from hyperseg_export.checkpoint.reading import open_weights
from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.registry import detect_family
from hyperseg_export.model import SourceModel, bind_model
from hyperseg_runtime.bundle.manifest import Coverage, Manifest
from hyperseg_runtime.errors import CheckpointError


@dataclass(frozen=True)
class Origin:
    """What `open_checkpoint` was asked for."""

    checkpoint: Path
    adapter: Path | None
    context: int | None


@dataclass(frozen=True)
class CheckpointModel:
    """A model together with the folder it came from."""

    origin: Origin
    checkpoint: MergedCheckpoint
    family: ExportFamily
    model: SourceModel

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
    checkpoint = with_adapters(open_weights(directory), adapter)
    family = detect_family(checkpoint.names)
    model = bind_model(family.name, family.define(checkpoint, context), checkpoint)
    check_equal(model.key_map, checkpoint)
    return CheckpointModel(Origin(directory, adapter, context), checkpoint, family, model)


def require_made_from(manifest: Manifest, opened: CheckpointModel, advice: str = "") -> None:
    """Raise CheckpointError, which ends in `advice`, for a bundle of another checkpoint or adapter."""
    origin = manifest.provenance
    found = (opened.checkpoint.base.fingerprint(), opened.checkpoint.adapter_sha256)
    if found != (origin.checkpoint_sha256, origin.adapter_sha256):
        raise CheckpointError(
            f"{opened.origin.checkpoint} is not what the bundle was made from: expected checkpoint sha256 "
            f"{origin.checkpoint_sha256[:16]}..., adapter {origin.adapter_sha256 or 'none'}; found {found[0][:16]}..., "
            f"{found[1] or 'none'}{advice and f'; {advice}'}"
        )
