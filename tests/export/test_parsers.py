"""Whatever stands in a file that people hand over: an answer, or one of our errors, and nothing else.

Images: `tests/runtime/images/test_reading_errors.py`; requests: `tests/serving/service/test_any_request.py`.
`make fuzz` runs them all for longer.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import fuzzed
from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.lora import AdapterFolder
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer
from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.layout import tensor_layout
from hyperseg_export.families.hyperseg.tiny import TINY
from hyperseg_export.families.unilseg.config_json import ReleaseConstants
from hyperseg_runtime.bundle.manifest import parse_manifest
from hyperseg_runtime.errors import HypersegError
from hyperseg_runtime.images.frames import open_frames

SHAPES = {name: shape for name, shape, _ in tensor_layout(TINY)}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in JSON."""
    found = [path] if path else []
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def mutated(content: Any, data: st.DataObject) -> Any:
    """JSON with up to three of its places removed or replaced by anything."""
    content = json.loads(json.dumps(content))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(places(content) or [("new",)]))
        place = content
        for key in way:
            place = place[key]
        if isinstance(place, dict) and data.draw(st.booleans()):
            del place[last]
        else:
            place[last] = data.draw(VALUES)
    return content


def damaged(content: bytes, data: st.DataObject, spots: int = 400) -> bytes:
    """Bytes with up to four of them changed, or without their end."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, min(len(content), spots) - 1) | st.integers(0, len(content) - 1))
        changed[at] = data.draw(st.sampled_from((0, 1, 34, 91, 123, 127, 128, 255)) | st.integers(0, 255))
    return bytes(changed[: data.draw(st.just(len(changed)) | st.integers(0, len(changed)))])


@fuzzed(1)
@given(data=st.data())
def test_any_config_json(data: st.DataObject) -> None:
    with_rope = {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "rope_scaling": None}
    content = mutated({**TINY.config(), **with_rope}, data)
    for parse in (
        lambda: HypersegConfig.from_checkpoint(content, SHAPES).check_context(),
        lambda: ReleaseConstants.from_config(content),
    ):
        answers_or_refuses(parse)


@fuzzed(2)
@given(data=st.data())
def test_any_manifest(tiny_bundle: Path, data: st.DataObject) -> None:
    content = (tiny_bundle / "manifest.json").read_bytes()
    if data.draw(st.booleans()):
        altered = json.dumps(mutated(json.loads(content), data)).encode()
    else:
        altered = damaged(content, data, len(content))
    answers_or_refuses(lambda: parse_manifest(altered))


@fuzzed(3)
@given(data=st.data())
def test_any_adapter(adapters: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("adapter")
    config = json.loads((adapters / "first" / "adapter_config.json").read_text())
    weights = (adapters / "first" / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_config.json").write_text(json.dumps(mutated(config, data)))
    (folder / "adapter_model.safetensors").write_bytes(damaged(weights, data))
    answers_or_refuses(lambda: AdapterFolder.open(folder))


@fuzzed(4)
@given(data=st.data())
def test_any_checkpoint_folder(
    small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Config, index and tokenizer files damaged in any way; shards are links to sound ones."""
    folder = tmp_path_factory.mktemp("checkpoint")
    for path in small_checkpoint.iterdir():
        (folder / path.name).symlink_to(path)
    names = [path.name for path in small_checkpoint.iterdir() if path.suffix == ".json"]
    for name in data.draw(st.lists(st.sampled_from(sorted(names)), min_size=1, max_size=2, unique=True)):
        content = (small_checkpoint / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(damaged(content, data, len(content)))
    answers_or_refuses(lambda: Checkpoint.open(folder))
    answers_or_refuses(lambda: load_tokenizer(folder))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A short video, 24 x 16."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (24, 16))
    for shade in range(0, 240, 40):
        writer.write(np.full((16, 24, 3), shade, np.uint8))
    writer.release()
    return path.read_bytes()


@fuzzed(5, 30)
@given(data=st.data())
def test_any_video(clip: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    path.write_bytes(damaged(clip, data, len(clip)))

    def read() -> None:
        source = open_frames(path)
        frames = list(source)
        assert all(frame.pixels_hwc_u8.dtype == np.uint8 for frame in frames)
        if len(frames) < (source.count or 0):
            assert any(row.lost for row in source.left_out)

    answers_or_refuses(read)


def answers_or_refuses(act: Callable[[], object]) -> None:
    try:
        act()
    except HypersegError as error:
        assert 0 < len(str(error)) < 5000
