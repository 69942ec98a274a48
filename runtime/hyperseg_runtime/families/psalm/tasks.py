"""What PSALM is asked for."""

from enum import StrEnum


class Task(StrEnum):
    """Those about expressions; about lists see `mask_queries.listed`."""

    REFERRING = "referring"
    UNION = "union"
    UNION_OR_NONE = "union or none"


REGION, TRACKING = "region", "tracking"
