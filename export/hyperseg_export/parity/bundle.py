"""Level "module": every ONNX graph of a bundle against the module it was exported from."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.recording import Call, RecordingGraphs
from hyperseg_export.parity.tolerances import tolerance_of
from hyperseg_export.planning import PlannedModel
from hyperseg_export.progress import Progress
from hyperseg_export.weights import materialise
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle import Bundle
from hyperseg_runtime.errors import ParityError
from hyperseg_runtime.image_io import load_image
from hyperseg_runtime.manifest import ParityEntry
from hyperseg_runtime.pipeline import OpenedGraphs, family_of


def measure_bundle(
    bundle: Bundle, model: PlannedModel, images: Sequence[Path], progress: Progress
) -> tuple[ParityEntry, ...]:
    """Run the real pipeline on photographs, then each module on the very inputs its graph got.

    All graphs of the bundle are used at least once. Modules are built one at a time, after the sessions
    are gone, so memory never holds the model twice.
    """
    count = len(bundle.manifest.graphs)
    progress.stage("parity: pipeline on photographs", 0, count)
    calls = _record(bundle, images)
    entries: list[ParityEntry] = []
    for index, graph in enumerate(bundle.manifest.graphs, 1):
        progress.stage(f"parity: {graph.spec.name}", index, count)
        entries += _compare(model, graph.spec.name, calls[graph.spec.name])
    return tuple(entries)


def require_passed(entries: Sequence[ParityEntry], consequence: str) -> None:
    """Raise ParityError naming the worst of the outputs that differ too much, and what that means."""
    failed = [entry for entry in entries if not entry.passed]
    if failed:
        worst = max(failed, key=lambda entry: entry.worst_error)
        raise ParityError(
            f"graph {worst.graph}: output {worst.output} differs from its module by {worst.worst_error:.1e} of "
            f"its range, allowed {worst.tolerance:.0e} ({len(failed)} outputs fail); {consequence}"
        )


def _record(bundle: Bundle, images: Sequence[Path]) -> dict[str, list[Call]]:
    with OnnxRuntimeBackend() as backend:
        graphs = RecordingGraphs(OpenedGraphs(bundle, backend))
        model = family_of(bundle).open_model(bundle, graphs, backend)
        for image in images:
            model.exercise(load_image(image))
        return graphs.calls


def _compare(model: PlannedModel, graph: str, calls: Sequence[Call]) -> Iterator[ParityEntry]:
    module = model.module(graph)
    materialise(module, model.weights.of_module(module))
    spec = next(spec for spec in model.specs if spec.name == graph)
    worst = dict.fromkeys(spec.output_names(), 0.0)
    for call in calls:
        inputs = [torch.from_numpy(call.inputs[name]) for name in spec.input_names()]
        with torch.inference_mode():
            outputs = module(*inputs)
        tensors = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        for name, tensor in zip(spec.output_names(), tensors, strict=True):
            error = worst_error(call.outputs[name], tensor.numpy())
            worst[name] = max(worst[name], error)
    for name, error in worst.items():
        tolerance = tolerance_of(name)
        yield ParityEntry(graph=graph, output=name, worst_error=error, tolerance=tolerance, passed=error <= tolerance)
