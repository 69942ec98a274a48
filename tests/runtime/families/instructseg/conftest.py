"""InstructSeg's tiny bundle, opened on graphs that count their calls."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.families.instructseg.model import InstructsegModel
from hyperseg_runtime.families.instructseg.published import PUBLISHED
from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions
from hyperseg_runtime.session.pipeline import OpenedGraphs
from support import family_bundle

GOLDEN = Path(__file__).parents[3] / "golden" / "instructseg"


@pytest.fixture(scope="session")
def opened_bundle(shared_dir: Path) -> Bundle:
    return Bundle.open(family_bundle(shared_dir, "instructseg"))


@pytest.fixture(scope="session")
def opened_graphs(opened_bundle: Bundle, backend: OnnxRuntimeBackend) -> OpenedGraphs:
    return OpenedGraphs(opened_bundle, backend)


@pytest.fixture
def counted(opened_graphs: OpenedGraphs) -> RecordingGraphs:
    return RecordingGraphs(opened_graphs)


@pytest.fixture
def model(opened_bundle: Bundle, counted: RecordingGraphs, backend: OnnxRuntimeBackend) -> Iterator[InstructsegModel]:
    model = InstructsegModel(opened_bundle, counted, backend)
    yield model
    model.close()


@pytest.fixture(scope="session")
def real_dims() -> InstructsegDimensions:
    """InstructSeg-3B as published."""
    return PUBLISHED


@pytest.fixture(scope="session")
def golden_prompts() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / "prompts.json").read_text())
    return content


@pytest.fixture(scope="session")
def golden_references() -> dict[str, list[list[int]]]:
    """Number of frames and of references -> references of each key frame, by the original's rule."""
    content: dict[str, list[list[int]]] = json.loads((GOLDEN / "reference_frames.json").read_text())
    return content
