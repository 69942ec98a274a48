"""Two photographs that may be given to anyone. See README.md for their authors."""

from importlib.resources import files
from pathlib import Path


def sample_images() -> tuple[Path, ...]:
    """Paths of the photographs."""
    folder = Path(str(files(__name__)))
    return tuple(sorted(folder.glob("*.jpg")))
