"""A backend whose image graphs run elsewhere: what goes up, and what does not go up only to come back."""

from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.backends.onnxruntime.backend import HostBuffer
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.service.staged import HostTensor, StagedBackend


class Counting(OnnxRuntimeBackend):
    """Stands for a device: what is brought there is counted."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.uploaded: list[tuple[int, ...]] = []

    def upload(self, array: np.ndarray) -> HostBuffer:
        self.uploaded.append(array.shape)
        return super().upload(array)


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 53, 3), np.uint8)


def test_images_go_to_the_other_models_and_nowhere_else(tiny_bundle: Path, photo: np.ndarray) -> None:
    """The masks are those of one process; the device sees no image, and each other tensor at most once."""
    bundle, device = Bundle.open(tiny_bundle), Counting()
    with OnnxRuntimeBackend(threads=1) as elsewhere:
        graphs = {
            entry.spec.name: elsewhere.open(entry.spec, bundle.path(entry.file))
            for entry in bundle.manifest.graphs
            if entry.spec.reuse is Reuse.IMAGE
        }

        def run(spec: GraphSpec, inputs: dict[str, Buffer]) -> dict[str, Buffer]:
            made = graphs[spec.name].run({name: elsewhere.upload(buffer.to_host()) for name, buffer in inputs.items()})
            if spec.name == "image_encoder":
                return {name: HostTensor(buffer.to_host()) for name, buffer in made.items()}
            return {name: device.upload(buffer.to_host()) for name, buffer in made.items()}

        with (
            Pipeline(bundle, StagedBackend(device, run), cache_bytes=0) as staged,
            Pipeline(bundle, OnnxRuntimeBackend(threads=1), cache_bytes=0) as alone,
        ):
            found, expected = staged(photo, "the cup"), alone(photo, "the cup")
    assert np.array_equal(found.masks, expected.masks) and np.array_equal(found.scores, expected.scores)
    images = [shape for shape in device.uploaded if len(shape) == 4 and shape[1] == 3]
    assert device.uploaded and not images
