"""What may be given to anyone: two photographs (README.md names their authors) and a small trained checkpoint."""

from importlib.resources import files
from pathlib import Path


def sample_images() -> tuple[Path, ...]:
    """Paths of the photographs."""
    folder = Path(str(files(__name__)))
    return tuple(sorted(folder.glob("*.jpg")))


def trained_checkpoint() -> Path:
    """Folder of a tiny HyperSeg that segments made scenes; its README.md says how it was trained and how good it is."""
    return Path(str(files(__name__))) / "trained_tiny"
