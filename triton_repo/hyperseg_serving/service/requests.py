"""A request's tensors checked against the limits, before anything is decoded."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image
from pydantic import BaseModel, ValidationError

from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.images.formats import HEAD_BYTES, why_no_image
from hyperseg_runtime.images.guarded import GuardedFile
from hyperseg_runtime.images.metadata import without_metadata
from hyperseg_runtime.images.reading import decode_image, read_header
from hyperseg_runtime.images.region_pictures import decode_marked
from hyperseg_serving import contract
from hyperseg_serving.contract import (
    DEFAULTS,
    IMAGE_FORMATS,
    Limits,
    Options,
    PointedAt,
    Probe,
    StreamStep,
    WireTensor,
)
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.byte_tensors import require_read

Parsed = TypeVar("Parsed", bound=BaseModel)
NOTHING_ASKED = "nothing is asked: send TEXT, CLASSES, REGIONS or QUESTION"
URL_TO_PLAIN = bytes.maketrans(b"-_", b"+/")
WHITESPACE = b" \t\n\r\v\f"
Tensors = Mapping[str, np.ndarray]
"""Arrays by name; BYTES tensors are object arrays of bytes."""


@dataclass(frozen=True)
class Request:
    """One request to the public model. `image` is the encoded file."""

    image: bytes | None = None
    texts: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    question: str | None = None
    options: Options = DEFAULTS
    regions: PointedAt | None = None
    stream: StreamStep | None = None
    probe: Probe | None = None
    cancel: str | None = None

    @property
    def asks_nothing(self) -> bool:
        return not (self.texts or self.classes or self.regions or self.question)

    @property
    def is_later_frame(self) -> bool:
        """Of a video: what is followed was said with its first."""
        return self.options.stream is not None or bool(self.stream and not self.stream.start)

    def need_image(self) -> bytes:
        if self.image is None:
            raise RefusalError(Reason.REQUEST, "an image is needed: send IMAGE or IMAGE_BASE64")
        return self.image


def parse_request(tensors: Tensors, limits: Limits) -> Request:
    """Raises RefusalError for a request that is beyond the limits or asks for nothing."""
    require_read(tensors)
    if contract.PROBE.name in tensors:
        return Request(probe=_probe(tensors))
    if contract.CANCEL.name in tensors:
        return Request(cancel=_cancel(tensors))
    texts = _texts(tensors, contract.TEXT, limits.max_texts, limits)
    classes = _texts(tensors, contract.CLASSES, limits.max_classes, limits)
    questions = _texts(tensors, contract.QUESTION, 1, limits)
    request = Request(
        image=_image_bytes(tensors, limits),
        texts=texts,
        classes=classes,
        regions=_parsed(tensors, contract.REGIONS, PointedAt, limits.max_regions_bytes),
        question=questions[0] if questions else None,
        options=_parsed(tensors, contract.OPTIONS, Options, limits.max_options_bytes) or DEFAULTS,
        stream=_parsed(tensors, contract.STREAM, StreamStep, limits.max_options_bytes),
    )
    _check_combination(request, limits)
    return request


@dataclass(frozen=True)
class MaskRequest:
    """One request to the ensemble's last step. `outputs` are those of the image graphs."""

    outputs: Tensors
    size_hw: tuple[int, int]
    texts: tuple[str, ...]


def parse_mask_request(tensors: Tensors, limits: Limits) -> MaskRequest:
    """Raises RefusalError for one beyond the limits: the step can be asked without the one that checks."""
    height_px, width_px = map(int, tensors[contract.SIZE.name])
    if min(height_px, width_px) < 1:
        raise RefusalError(Reason.REQUEST, f"SIZE is {height_px} x {width_px}; expected height and width in pixels")
    _check_pixels(width_px, height_px, limits)
    require_read(tensors)
    texts = _texts(tensors, contract.CHECKED_TEXT, limits.max_texts, limits)
    beside = (contract.SIZE.name, contract.CHECKED_TEXT.name)
    outputs = {name: array for name, array in tensors.items() if name not in beside}
    return MaskRequest(outputs, (height_px, width_px), texts)


def _check_combination(request: Request, limits: Limits) -> None:
    if request.asks_nothing and not request.is_later_frame:
        raise RefusalError(Reason.REQUEST, NOTHING_ASKED)
    if request.texts or request.classes or request.regions or request.stream:
        request.need_image()
    if request.stream and (request.question or sum(map(bool, (request.texts, request.classes, request.regions))) > 1):
        raise RefusalError(Reason.REQUEST, "a frame of a video takes one of TEXT, CLASSES and REGIONS to ask")
    if request.regions and not 1 <= request.regions.count <= limits.max_regions:
        raise RefusalError(
            Reason.TOO_MANY, f"REGIONS holds {request.regions.count} regions, expected 1 to {limits.max_regions}"
        )
    if (request.options.max_tokens or 0) > limits.max_answer_tokens:
        raise RefusalError(Reason.OPTIONS, f"max_tokens is above {limits.max_answer_tokens}")


def image_size(data: bytes, limits: Limits) -> tuple[int, int]:
    """Height and width of an encoded file in pixels, from its header. Raises RefusalError for one above the limits."""
    try:
        width_px, height_px = _header_size(data)
    except Image.DecompressionBombError as error:
        raise RefusalError(Reason.IMAGE_TOO_LARGE, f"above {limits.max_image_pixels:,} pixels") from error
    _check_pixels(width_px, height_px, limits)
    return height_px, width_px


def _header_size(data: bytes) -> tuple[int, int]:
    """What is not needed decides nothing: metadata that cannot be read is passed over, as when pixels are decoded."""
    for content in _with_and_without_metadata(data):
        try:
            with read_header(GuardedFile(content, header_alone=True), IMAGE_FORMATS) as image:
                return image.size
        except (ImageError, Image.DecompressionBombError, MemoryError):
            raise
        except Exception:
            continue
    raise RefusalError(Reason.IMAGE, why_no_image("the image", data[:HEAD_BYTES], ", ".join(IMAGE_FORMATS)))


def _with_and_without_metadata(data: bytes) -> Iterator[bytes]:
    yield data
    yield without_metadata(data) or b""


def open_image(data: bytes, limits: Limits) -> np.ndarray:
    """RGB (height, width, 3) uint8 of an encoded file. The size is read from its header, before any pixel."""
    image_size(data, limits)
    return decode_image(GuardedFile(data), "the image", limits.max_image_pixels, IMAGE_FORMATS)


def _check_pixels(width_px: int, height_px: int, limits: Limits) -> None:
    if width_px * height_px > limits.max_image_pixels:
        raise RefusalError(
            Reason.IMAGE_TOO_LARGE,
            f"{width_px} x {height_px} px; at most {limits.max_image_pixels:,} pixels are read, scale it down",
        )


def _image_bytes(tensors: Tensors, limits: Limits) -> bytes | None:
    raw, encoded = tensors.get(contract.IMAGE.name), tensors.get(contract.IMAGE_BASE64.name)
    if raw is not None and encoded is not None:
        raise RefusalError(Reason.REQUEST, "send either IMAGE or IMAGE_BASE64")
    if raw is not None:
        _check_image_size(raw.size, limits)
        return raw.tobytes()
    if encoded is None:
        return None
    text = _elements(encoded, contract.IMAGE_BASE64, 1)[0]
    _check_image_size(len(text) * 3 // 4, limits)
    return unwrapped(text, contract.IMAGE_BASE64.name)


def marked_pixels(file: str, image_hw: tuple[int, int], limits: Limits) -> np.ndarray:
    """What a picture in base64 marks of the image under it, (H, W) bool (see `images.region_pictures`). RefusalError
    for a picture of another size, before any of its pixels is read.
    """
    data = unwrapped(file.encode(), contract.REGIONS.name)
    if image_size(data, limits) != image_hw:
        found, expected = (f"{width} x {height}" for height, width in (image_size(data, limits), image_hw))
        raise RefusalError(Reason.REQUEST, f"REGIONS holds a picture of {found} px, expected the image's {expected}")
    return decode_marked(GuardedFile(data), "the picture", limits.max_image_pixels, IMAGE_FORMATS)


def unwrapped(text: bytes, tensor: str) -> bytes:
    """Base64 as clients write it: plain, as a data URI, in lines, of the URL alphabet, without padding."""
    if text.startswith(b"data:"):
        text = text.partition(b",")[2]
    text = text.translate(URL_TO_PLAIN, delete=WHITESPACE).rstrip(b"=")  # never split: 27 MB may hold 13 million spaces
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise RefusalError(Reason.IMAGE, f"{tensor} is not base64: {error}") from error


def _check_image_size(size_bytes: int, limits: Limits) -> None:
    if size_bytes > limits.max_image_bytes:
        raise RefusalError(
            Reason.IMAGE_TOO_LARGE, f"{size_bytes:,} bytes; at most {limits.max_image_bytes:,} are read, scale it down"
        )


def _elements(array: np.ndarray, tensor: WireTensor, most: int) -> Sequence[bytes]:
    elements = array.reshape(-1).tolist()
    if not 1 <= len(elements) <= most:
        raise RefusalError(Reason.TOO_MANY, f"{tensor.name} holds {len(elements)} elements, expected 1 to {most}")
    return elements


def _texts(tensors: Tensors, tensor: WireTensor, most: int, limits: Limits) -> tuple[str, ...]:
    array = tensors.get(tensor.name)
    if array is None:
        return ()
    return tuple(_text(element, tensor, limits) for element in _elements(array, tensor, most))


def _text(element: bytes, tensor: WireTensor, limits: Limits) -> str:
    longest = 40 * limits.max_words  # bytes; no word needs more on average
    if len(element) > longest:
        raise RefusalError(Reason.TEXT, f"{tensor.name} has {len(element)} bytes, at most {longest} are read")
    try:
        text = element.decode()
    except UnicodeDecodeError as error:
        raise RefusalError(Reason.TEXT, f"{tensor.name} is not UTF-8") from error
    if len(text.split()) > limits.max_words:
        raise RefusalError(Reason.TEXT, f"{tensor.name} has {len(text.split())} words, at most {limits.max_words}")
    return text


def _probe(tensors: Tensors) -> Probe:
    asked = _alone(tensors, contract.PROBE)
    if asked not in set(Probe):
        raise RefusalError(Reason.REQUEST, f"{contract.PROBE.name} is {' or '.join(Probe)}")
    return Probe(asked)


def _cancel(tensors: Tensors) -> str:
    request_id = _alone(tensors, contract.CANCEL)
    if len(request_id) < contract.LEAST_CANCEL_LETTERS:
        raise RefusalError(
            Reason.REQUEST,
            f"only requests with ids of {contract.LEAST_CANCEL_LETTERS} letters or more can be cancelled",
        )
    return request_id


def _alone(tensors: Tensors, tensor: WireTensor) -> str:
    if len(tensors) > 1:
        raise RefusalError(Reason.REQUEST, f"{tensor.name} is sent with nothing beside it")
    return _elements(tensors[tensor.name], tensor, 1)[0].decode(errors="replace")


def _parsed(tensors: Tensors, tensor: WireTensor, model: type[Parsed], most: int) -> Parsed | None:
    array = tensors.get(tensor.name)
    if array is None:
        return None
    data = _elements(array, tensor, 1)[0]
    if len(data) > most:
        raise RefusalError(Reason.OPTIONS, f"{tensor.name} has {len(data)} bytes, at most {most} are read")
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or tensor.name
        known = ", ".join(model.model_fields)
        raise RefusalError(Reason.OPTIONS, f"{where}: {first['msg']}; {tensor.name} may hold {known}") from error


def tensors_of(request: Request) -> dict[str, np.ndarray]:
    """Inverse of `parse_request`: what a client sends."""
    tensors: dict[str, np.ndarray] = {}
    for alone, asked in ((contract.PROBE, request.probe), (contract.CANCEL, request.cancel)):
        if asked is not None:
            tensors[alone.name] = bytes_tensor(asked.encode())
    if request.image is not None:
        tensors[contract.IMAGE.name] = np.frombuffer(request.image, np.uint8)
    question = () if request.question is None else (request.question,)
    for tensor, texts in (
        (contract.TEXT, request.texts),
        (contract.CLASSES, request.classes),
        (contract.QUESTION, question),
    ):
        if texts:
            tensors[tensor.name] = bytes_tensor(*(text.encode() for text in texts))
    options = request.options.model_dump(exclude_defaults=True)
    if options:
        tensors[contract.OPTIONS.name] = bytes_tensor(json.dumps(options).encode())
    for tensor, said in ((contract.REGIONS, request.regions), (contract.STREAM, request.stream)):
        if said:
            tensors[tensor.name] = bytes_tensor(said.model_dump_json(exclude_defaults=True).encode())
    return tensors


def bytes_tensor(*elements: bytes) -> np.ndarray:
    """A BYTES tensor, (len(elements),) object."""
    array = np.empty(len(elements), object)
    array[:] = elements
    return array
