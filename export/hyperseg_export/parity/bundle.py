"""Level "module": every ONNX graph of a bundle against the float32 module it was exported from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from hyperseg_export.checkpoint.weights import materialise
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import PlannedModel
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_export.parity.entries import compare_graph
from hyperseg_export.parity.module_graph import ModuleGraph
from hyperseg_export.parity.recording import Arrays, Call, RecordingGraphs
from hyperseg_export.precision.typed import make_plan, typed_model
from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.manifest import ParityEntry
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import OpenedGraphs, family_of


def measure_bundle(
    bundle: Bundle, model: PlannedModel, images: Sequence[Path], progress: Progress
) -> tuple[ParityEntry, ...]:
    """Run the real pipeline on photographs, then each module on the very inputs its graph got.

    `model` is the float32 model, whatever the precision of the bundle. All graphs are used at least once.
    Modules are built one at a time, after the sessions are gone, so memory never holds the model twice. ONNX
    Runtime's CPU provider has no bf16: such graphs are stood for by their modules, and what is compared is the
    module in bf16.
    """
    count = len(bundle.manifest.graphs)
    progress.stage("parity: pipeline on photographs", 0, count)
    calls = _record(bundle, model, images)
    entries: list[ParityEntry] = []
    for index, graph in enumerate(bundle.manifest.graphs, 1):
        name, precision = graph.spec.name, graph.precision
        progress.stage(f"parity: {name}", index, count)
        reference = _run_module(model, name, calls[name])
        if precision is Precision.BF16:
            typed = typed_model(model, make_plan(model.specs, Precision.FP32, {name: precision}))
            entries += compare_graph(name, precision, _run_module(typed, name, calls[name]), reference, "torch")
        else:
            made = [call.outputs for call in calls[name]]
            entries += compare_graph(name, precision, made, reference, "onnxruntime")
    return tuple(entries)


def _record(bundle: Bundle, model: PlannedModel, images: Sequence[Path]) -> dict[str, list[Call]]:
    with OnnxRuntimeBackend() as backend:
        graphs = RecordingGraphs(_Runnable(bundle, model, backend))
        opened = family_of(bundle).open_model(bundle, graphs, backend)
        for image in images:
            opened.exercise(load_image(image))
        return graphs.calls


class _Runnable(Mapping[str, Graph]):
    """The bundle's graphs; the float32 module in place of a graph that ONNX Runtime's CPU provider cannot run."""

    def __init__(self, bundle: Bundle, model: PlannedModel, backend: Backend) -> None:
        self._opened = OpenedGraphs(bundle, backend)
        self._stand_ins = {
            spec.name: ModuleGraph(spec, module_of(model, spec.name), backend)
            for spec in model.specs
            if bundle.manifest.graph(spec.name).precision is Precision.BF16
        }

    def __getitem__(self, name: str) -> Graph:
        return self._stand_ins[name] if name in self._stand_ins else self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)


def module_of(model: PlannedModel, graph: str) -> nn.Module:
    """A graph's module with its weights."""
    module = model.module(graph)
    return materialise(module, model.weights.of_module(module))


def _run_module(model: PlannedModel, graph: str, calls: Sequence[Call]) -> list[Arrays]:
    """Outputs of a graph's module on recorded inputs, in types that numpy has."""
    module, spec = module_of(model, graph), model.spec(graph)
    results = []
    for call in calls:
        inputs = [torch.from_numpy(call.inputs[t.name]).to(TORCH_DTYPES[t.dtype]) for t in spec.inputs]
        with torch.inference_mode():
            outputs = module(*inputs)
        tensors = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        results.append(
            {name: tensor.float().numpy() for name, tensor in zip(spec.output_names(), tensors, strict=True)}
        )
    return results
