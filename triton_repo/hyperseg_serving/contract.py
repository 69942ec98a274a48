"""What goes over the wire, written once: tensors, options and limits. Generator, models and client read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hyperseg_runtime.contracts.graph_spec import DType, TensorSpec
from hyperseg_runtime.errors import InputError


@dataclass(frozen=True)
class WireTensor:
    """An input or output of a served model. `data_type` is the server's name, -1 a size the request decides."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool = False

    def required(self) -> "WireTensor":
        return replace(self, optional=False)

    def in_batches_of_one(self) -> "WireTensor":
        """With the batch axis written out, for models without batching."""
        return replace(self, dims=(1, *self.dims))


WIRE_TYPES = {
    DType.FLOAT32: "TYPE_FP32",
    DType.FLOAT16: "TYPE_FP16",
    DType.BFLOAT16: "TYPE_BF16",
    DType.INT64: "TYPE_INT64",
    DType.BOOL: "TYPE_BOOL",
}


def wire_tensor(spec: TensorSpec) -> WireTensor:
    """A graph's tensor without its batch axis, which the server adds."""
    dims = tuple(-1 if isinstance(axis, str) else axis for axis in spec.axes[1:])
    return WireTensor(spec.name, WIRE_TYPES[spec.dtype], dims)


# Bytes as UINT8 are checked for their size by the server itself; BYTES are a length and the data.
IMAGE = WireTensor("IMAGE", "TYPE_UINT8", (-1,), optional=True)
IMAGE_BASE64 = WireTensor("IMAGE_BASE64", "TYPE_STRING", (1,), optional=True)
TEXT = WireTensor("TEXT", "TYPE_STRING", (-1,), optional=True)
CLASSES = WireTensor("CLASSES", "TYPE_STRING", (-1,), optional=True)
QUESTION = WireTensor("QUESTION", "TYPE_STRING", (1,), optional=True)
OPTIONS = WireTensor("OPTIONS", "TYPE_STRING", (1,), optional=True)
STREAM = WireTensor("STREAM", "TYPE_STRING", (1,), optional=True)
# Between the first and the last step of the ensemble.
SIZE = WireTensor("SIZE", "TYPE_INT64", (2,))
CHECKED_TEXT = WireTensor("CHECKED_TEXT", "TYPE_STRING", (-1,))

RESULT = WireTensor("RESULT", "TYPE_STRING", (1,))
PIECE = WireTensor("PIECE", "TYPE_STRING", (1,))

PUBLIC_INPUTS = (IMAGE, IMAGE_BASE64, TEXT, CLASSES, QUESTION, OPTIONS, STREAM)
PUBLIC_OUTPUTS = (PIECE, RESULT)

PUBLIC = "hyperseg"
VIDEO = "hyperseg_video"
REFERRING = "hyperseg_referring"
PREPROCESS = "hyperseg_preprocess"
MASKS = "hyperseg_masks"


def stage_name(graph: str) -> str:
    """The served model of one graph."""
    return f"hyperseg_{graph}"


class Profile(StrEnum):
    """Where a repository is served: with TensorRT engines on a GPU, or by ONNX Runtime on any CPU."""

    GPU = "gpu"
    CPU = "cpu"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Options(_Strict):
    """The JSON object in OPTIONS; unknown keys are refused.

    task         which segmentation prompt; None for the family's first
    min_score    classes with less are left out
    png          each mask also as a PNG file in base64
    max_tokens, temperature, top_p, seed
                 of the answer to QUESTION, see `sampling.Sampling`
    timeout_ms   no further work is begun after this time
    """

    task: str | None = None
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.0
    png: bool = False
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: Annotated[int, Field(ge=0)] | None = None
    timeout_ms: Annotated[int, Field(ge=1)] | None = None


DEFAULTS = Options()


class StreamStep(_Strict):
    """The JSON object in STREAM, which `hyperseg_video` makes of a sequence's flags."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    start: bool = False
    end: bool = False


Count = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """What one request, or all together, may take; each is a parameter of the served models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_image_bytes: Count = 20_000_000
    max_image_pixels: Count = 40_000_000
    max_texts: Count = 32
    max_classes: Count = 256
    max_words: Count = 500
    max_options_bytes: Count = 10_000
    max_answer_tokens: Count = 512
    max_streams: Count = 16
    stream_idle_s: Count = 60
    max_queue: Count = 64
    queue_timeout_ms: Count = 60_000
    workers: Count = 4
    cache_bytes: Count = 4_000_000_000

    def to_parameters(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.model_dump().items()}

    def changed(self, options: Sequence[str]) -> Self:
        """With NAME=VALUE for each option. Raises InputError for names and values that are none."""
        parts = [option.partition("=") for option in options]
        try:
            return self.model_validate({**self.model_dump(), **{name: value for name, _, value in parts}})
        except ValidationError as error:
            known = ", ".join(f"{name}={value}" for name, value in self.model_dump().items())
            raise InputError(
                f"--limit takes NAME=VALUE with whole numbers above 0, got {', '.join(options)}; there are {known}"
            ) from error

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Self:
        """From a served model's parameters; others are passed over."""
        return cls.model_validate({name: parameters[name] for name in cls.model_fields if name in parameters})


ImageFormat = Literal["JPEG", "PNG", "WEBP"]
IMAGE_FORMATS: tuple[ImageFormat, ...] = ("JPEG", "PNG", "WEBP")
"""Decoders that bytes from outside may reach."""
