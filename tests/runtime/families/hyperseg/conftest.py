"""Dimensions of the tiny bundle and of the published model; a model whose graphs are watched."""

from collections.abc import Iterator

import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.families.hyperseg.model import HypersegModel
from hyperseg_runtime.families.hyperseg.published import PUBLISHED
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.session.pipeline import OpenedGraphs


@pytest.fixture(scope="session")
def dims(bundle: Bundle) -> HypersegDimensions:
    return HypersegDimensions.model_validate(bundle.manifest.dimensions)


@pytest.fixture(scope="session")
def real_dims() -> HypersegDimensions:
    """HyperSeg-3B as published."""
    return PUBLISHED


@pytest.fixture
def recorded_graphs(graphs: OpenedGraphs) -> RecordingGraphs:
    return RecordingGraphs(graphs)


@pytest.fixture
def model(bundle: Bundle, recorded_graphs: RecordingGraphs, backend: OnnxRuntimeBackend) -> Iterator[HypersegModel]:
    model = HypersegModel(bundle, recorded_graphs, backend)
    yield model
    model.close()
