"""What the tensors of a checkpoint do not tell, and where a user may say it."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hyperseg_runtime.errors import CheckpointError

EXTENSION_KEY = "hyperseg_trt"
"""Of config.json; every family has its own constants under it."""

Count = Annotated[int, Field(gt=0)]


class ReleaseConstants(BaseModel):
    """Of a family whose release has no config.json; one beside the checkpoint may hold others than the defaults."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    @classmethod
    def from_config(cls, content: Mapping[str, Any]) -> Self:
        """Raises CheckpointError naming the first setting that is unknown or impossible."""
        try:
            return cls.model_validate(content.get(EXTENSION_KEY, {}))
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(map(str, (EXTENSION_KEY, *first["loc"])))
            known = ", ".join(sorted(cls.model_fields))
            raise CheckpointError(
                f"config.json: {path} is {first['input']!r}: {first['msg']}; known keys: {known}"
            ) from error
