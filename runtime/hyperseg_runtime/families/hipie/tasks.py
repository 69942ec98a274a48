"""What HIPIE is asked for."""

from enum import StrEnum


class Task(StrEnum):
    REFERRING = "referring"
    """The release calls it grounding."""
    INSTANCE = "instance"
    PANOPTIC = "panoptic"
    SEMANTIC = "semantic"
    PARTS = "parts"
