"""What HIPIE is asked for."""

from enum import StrEnum


class Task(StrEnum):
    REFERRING = "referring"
    """The release calls it grounding."""
    REFERRING_PARTS = "referring parts"
    INSTANCE = "instance"
    PANOPTIC = "panoptic"
    SEMANTIC = "semantic"
    PARTS = "parts"
    PANOPTIC_PARTS = "panoptic parts"

    @property
    def has_parts(self) -> bool:
        """Whether a second text is asked, for a map of parts."""
        return self in (Task.REFERRING_PARTS, Task.PARTS, Task.PANOPTIC_PARTS)
