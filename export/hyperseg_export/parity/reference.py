"""What the graphs of a bundle compute in ONNX Runtime on real requests, saved for engines to be compared with. In a
process of its own, whose memory goes with it.

    python -m hyperseg_export.parity.reference JOB.json
"""

from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hyperseg_export.jobs.worker import keep_stdout, run_job
from hyperseg_export.onnx.upcast import upcast
from hyperseg_export.parity.saved_calls import SavingGraphs, call_bytes
from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.precision import Precision, typed_spec
from hyperseg_runtime.families.family import warm_up
from hyperseg_runtime.images.reading import ImageSource, load_image
from hyperseg_runtime.session.pipeline import AT_ONCE, OpenedGraphs, family_of

CALLS = 5
"""Calls that a graph gets from a family's warm-up; of a language model, which gets the most."""


class ReferenceJob(BaseModel):
    """Calls of which graphs of a checked bundle to save, where, about which photograph."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    graphs: tuple[str, ...]
    image: Path
    folder: Path


class Recorded(BaseModel):
    """Nothing: what was made lies in the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def record_reference(job: ReferenceJob) -> Recorded:
    record_calls(Bundle.read(job.bundle), job.graphs, job.image, job.folder)
    return Recorded()


def record_calls(bundle: Bundle, graphs: Collection[str], image: ImageSource, folder: Path) -> None:
    """Answer requests about a photograph with ONNX Runtime; each call of the named `graphs` is saved in `folder`.

    The family's warm-up is what callers ask: a language model reads whole prompts, suffixes behind kept rows and
    single tokens, so that every profile of its engine is used. Typed graphs run in float32 arithmetic (see `upcast`).
    """
    with OnnxRuntimeBackend(low_memory=True) as backend:
        opened = SavingGraphs(_WideGraphs(bundle, folder, backend), folder, graphs)
        family = family_of(bundle)
        model = family.open_model(bundle, opened, backend)
        pixels = load_image(image)
        model.exercise(pixels)
        warm_up(family, model, model.open(pixels))


def reference_bytes(manifest: Manifest, graphs: Collection[str]) -> int:
    """About what `record_calls` leaves in its folder: float32 copies of typed graphs, and calls, mostly caches."""
    if not graphs:
        return 0
    typed = (entry for entry in manifest.graphs if entry.precision is not Precision.FP32)
    saved = (entry.spec for entry in manifest.graphs if entry.spec.name in graphs)
    return sum(4 * entry.parameters for entry in typed) + CALLS * sum(sum(call_bytes(spec)) for spec in saved)


class _WideGraphs(OpenedGraphs):
    """The bundle's graphs in float32 arithmetic, few open at once."""

    def __init__(self, bundle: Bundle, folder: Path, backend: Backend) -> None:
        super().__init__(bundle, backend, AT_ONCE)
        self._folder = folder

    def _open(self, name: str) -> Graph:
        entry = self._bundle.manifest.graph(name)
        path = self._bundle.path(entry.file)
        if entry.precision is not Precision.FP32:
            wide = self._folder / path.name
            if not wide.is_file():
                upcast(path, wide)
            path = wide
        return self._backend.open(typed_spec(entry.spec, Precision.FP32), path)


if __name__ == "__main__":
    keep_stdout()
    run_job(ReferenceJob, record_reference)
