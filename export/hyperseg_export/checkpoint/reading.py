"""A checkpoint, whichever of the known forms it has."""

from pathlib import Path

from hyperseg_export.checkpoint.folder import Checkpoint


def open_weights(path: Path) -> Checkpoint:
    """A folder of safetensors shards. Raises CheckpointError."""
    return Checkpoint.open(path)
