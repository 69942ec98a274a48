"""Whatever bytes a caller sends as a request: it is read or refused with an identifier, before anything is decoded."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fuzzing import fuzzed
from hyperseg_runtime.errors import ImageError
from hyperseg_serving.contract import IMAGE_FORMATS, Limits, Options, PointedAt, StreamStep
from hyperseg_serving.refusals import RefusalError
from hyperseg_serving.service.requests import bytes_tensor, open_image, parse_request

LIMITS = Limits(max_image_bytes=1000, max_texts=2, max_classes=3, max_words=5, max_options_bytes=200)
FIELDS = sorted({*Options.model_fields, *StreamStep.model_fields, *PointedAt.model_fields, "unknown"})
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from([10**400, 1e999])
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4).map(lambda content: json.dumps(content).encode())
BYTES = st.one_of(
    OBJECTS, st.binary(max_size=60), st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace"))
)
BYTES_TENSORS = st.lists(BYTES, max_size=4).map(lambda parts: bytes_tensor(*parts))
IMAGES = st.binary(max_size=1100).map(lambda data: np.frombuffer(data, np.uint8))
TENSORS: dict[str, st.SearchStrategy[np.ndarray]] = {
    "IMAGE": IMAGES,
    "IMAGE_BASE64": BYTES_TENSORS,
    **dict.fromkeys(("TEXT", "CLASSES", "REGIONS", "QUESTION", "OPTIONS", "STREAM", "NOBODY_KNOWS"), BYTES_TENSORS),
}


@fuzzed(7, 50)
@given(tensors=st.fixed_dictionaries({}, optional=TENSORS))
def test_any_tensors(tensors: dict[str, np.ndarray]) -> None:
    try:
        parse_request(tensors, LIMITS)
    except RefusalError as refusal:
        assert "<" not in str(refusal) and len(str(refusal)) < 1000


@fuzzed(8, 100)
@given(suffix=st.sampled_from(IMAGE_FORMATS), data=st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks, and that only a first frame is used
def test_any_image(suffix: str, data: st.DataObject) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(file, suffix)
    content: Any = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert open_image(bytes(content[: data.draw(st.integers(0, len(content)))]), Limits()).dtype == np.uint8
    except (RefusalError, ImageError) as error:
        assert 0 < len(str(error)) < 1000
