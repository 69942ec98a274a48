"""What goes over the wire, written once: tensors, options and limits. Generator, models and client read it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, TensorSpec
from hyperseg_runtime.contracts.requests import Question
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import FamilySpec


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
    DType.INT8: "TYPE_INT8",
    DType.UINT8: "TYPE_UINT8",
    DType.BOOL: "TYPE_BOOL",
}

BATCH = "batch"
"""Name of the axis that the server adds requests along."""


def wire_tensor(spec: TensorSpec) -> WireTensor:
    """A graph's tensor without its batch axis, which the server adds."""
    dims = tuple(-1 if isinstance(axis, str) else axis for axis in spec.axes[1:])
    return WireTensor(spec.name, WIRE_TYPES[spec.dtype], dims)


def typical_sizes(spec: GraphSpec) -> dict[str, int]:
    """Sizes of a graph's named axes for a call that stands for others; the batch is one."""
    return {**{name: sizes.typical for name, sizes in spec.axis_ranges.items()}, BATCH: 1}


# Bytes as UINT8 are checked for their size by the server itself; BYTES are a length and the data.
IMAGE = WireTensor("IMAGE", "TYPE_UINT8", (-1,), optional=True)
IMAGE_BASE64 = WireTensor("IMAGE_BASE64", "TYPE_STRING", (1,), optional=True)
TEXT = WireTensor("TEXT", "TYPE_STRING", (-1,), optional=True)
CLASSES = WireTensor("CLASSES", "TYPE_STRING", (-1,), optional=True)
REGIONS = WireTensor("REGIONS", "TYPE_STRING", (1,), optional=True)
QUESTION = WireTensor("QUESTION", "TYPE_STRING", (1,), optional=True)
OPTIONS = WireTensor("OPTIONS", "TYPE_STRING", (1,), optional=True)
STREAM = WireTensor("STREAM", "TYPE_STRING", (1,), optional=True)
PROBE = WireTensor("PROBE", "TYPE_STRING", (1,), optional=True)
CANCEL = WireTensor("CANCEL", "TYPE_STRING", (1,), optional=True)
"""The id of a request that its caller does not want answered any more."""
CALL_HEADER = "x-gateway-call"
"""Names a gRPC call at the gateway: CANCEL takes it in the place of an id, for all that was asked in that call."""
LEAST_CANCEL_LETTERS = 16
"""Shorter ids could be guessed by others."""
# Between the first and the last step of the ensemble.
SIZE = WireTensor("SIZE", "TYPE_INT64", (2,))
CHECKED_TEXT = WireTensor("CHECKED_TEXT", "TYPE_STRING", (-1,))

RESULT = WireTensor("RESULT", "TYPE_STRING", (1,))
PIECE = WireTensor("PIECE", "TYPE_STRING", (1,))


def public_inputs(family: FamilySpec) -> tuple[WireTensor, ...]:
    """Every kind of request has its input, also one that the family does not answer: it is refused in its words."""
    stream = (STREAM,) if family.video_tasks else ()
    return IMAGE, IMAGE_BASE64, TEXT, CLASSES, REGIONS, QUESTION, OPTIONS, PROBE, CANCEL, *stream


def frame_inputs() -> tuple[WireTensor, ...]:
    """Of the model of videos, again with those that a family refuses in its words. Texts and class lists come with
    every frame, regions with the first alone.
    """
    return IMAGE.required(), TEXT, CLASSES, REGIONS, OPTIONS


def public_outputs(family: FamilySpec) -> tuple[WireTensor, ...]:
    return (PIECE, RESULT) if family.answers(Question) else (RESULT,)


class Probe(StrEnum):
    """What PROBE asks; neither waits behind requests, and no queue is too full for them.

    live    whether the model's process answers: its identity, whether it is draining, what is under way
    canary  whether it makes masks: the family's own small request about noise, next after what runs now
    """

    LIVE = "live"
    CANARY = "canary"


class Profile(StrEnum):
    """Where a repository is served: with TensorRT engines on a GPU, or by ONNX Runtime on any CPU."""

    GPU = "gpu"
    CPU = "cpu"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Options(_Strict):
    """The JSON object in OPTIONS; unknown keys are refused.

    task         one of the family's tasks; None for the first of what is asked
    min_score    instances and panoptic segments of CLASSES with less are left out; refused for semantic maps
    things       for each of CLASSES whether it is countable, where the task asks for it
    png          masks also as PNG files in base64
    max_tokens   bounds what the model writes: the answer to QUESTION, names before it segments them; None: the family's
                 default, at most `max_answer_tokens`
    temperature, top_p, seed
                 of the answer to QUESTION, see `sampling.Sampling`
    timeout_ms   no further work is done after this time, counted from the request's arrival
    remember     False: nothing is kept of the image once the request is answered
    cache_key    images are remembered for requests of the same key alone; without one nothing says what was reused
    stream       of a further frame of a sequence: the `stream` of the response to the first
    """

    task: str | None = None
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.0
    things: tuple[bool, ...] | None = None
    png: bool = False
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: Annotated[int, Field(ge=0)] | None = None
    timeout_ms: Annotated[int, Field(ge=1)] | None = None
    remember: bool = True
    cache_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    stream: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @field_validator("temperature", "top_p")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value


DEFAULTS = Options()


Pixels = Annotated[float, Field(allow_inf_nan=False)]


class PointedAt(_Strict):
    """The JSON object in REGIONS, see `contracts.requests.Regions`.

    points      [x, y] in pixels of the image
    boxes       [x0, y0, x1, y1] with exclusive x1, y1
    scribbles, masks
                files of the image's size in base64, such as PNG: whatever is not black is meant, or not transparent
                (see `images.region_pictures`)
    """

    points: tuple[tuple[Pixels, Pixels], ...] = ()
    boxes: tuple[tuple[Pixels, Pixels, Pixels, Pixels], ...] = ()
    scribbles: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.points) + len(self.boxes) + len(self.scribbles) + len(self.masks)


class StreamStep(_Strict):
    """The JSON object in STREAM, which the video model makes of a sequence's flags.

    A start has no `id`: the server gives one that nobody can guess, in the response's `stream`.
    """

    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    start: bool = False
    end: bool = False

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.start == (self.id is not None):
            raise ValueError("a start has no id, every later frame the one that the response to the start gave")
        return self


Count = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """What one request, or all together, may take; each is a parameter of the served models.

    max_image_bytes, max_image_pixels
                       of the encoded file; by its header
    max_texts, max_classes, max_regions, max_words, max_options_bytes, max_regions_bytes, max_answer_tokens
                       of one request
    max_mask_pixels    pixels of the image times masks asked for. A request takes about 16 bytes for each pixel of its
                       image and 3 for each of these
    light_mask_pixels  what asks more goes to the heavy lane; the ensemble, which has one lane, refuses it
    max_request_ms     no request is worked on longer, counted from its arrival
    workers, heavy_workers, word_workers
                       requests of each lane that are worked on at once: light ones, heavy ones, and those for which the
                       model writes words
    max_queue, max_heavy_queue, max_word_queue, max_queue_bytes, max_wait_ms
                       of each lane: requests that wait, what they hold, and how long the newest may expect to wait
    queue_timeout_ms   of the models of single graphs and of the ensemble, in the server's own queues
    max_streams, stream_idle_s
                       videos that are remembered
    cache_bytes        what is kept of images
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_image_bytes: Count = 20_000_000
    max_image_pixels: Count = 40_000_000
    max_texts: Count = 32
    max_classes: Count = 256
    max_regions: Count = 32
    max_words: Count = 500
    max_options_bytes: Count = 10_000
    max_regions_bytes: Count = 500_000
    max_answer_tokens: Count = 512
    max_mask_pixels: Count = 400_000_000
    light_mask_pixels: Count = 40_000_000
    max_request_ms: Count = 120_000
    workers: Count = 4
    heavy_workers: Count = 1
    word_workers: Count = 4
    max_queue: Count = 64
    max_heavy_queue: Count = 4
    max_word_queue: Count = 16
    max_queue_bytes: Count = 256_000_000
    max_wait_ms: Count = 5_000
    queue_timeout_ms: Count = 60_000
    max_streams: Count = 16
    stream_idle_s: Count = 60
    cache_bytes: Count = 4_000_000_000

    @property
    def all_workers(self) -> int:
        """Requests that are worked on at once."""
        return self.workers + self.heavy_workers + self.word_workers

    @property
    def max_elements(self) -> int:
        """Of one BYTES tensor."""
        return max(self.max_texts, self.max_classes)

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
