"""Level "module": every ONNX graph of a bundle against the float32 module it was exported from."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from hyperseg_export.checkpoint.streaming import streamed, streamed_bytes
from hyperseg_export.checkpoint.weights import materialise
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import SourceModel
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_export.parity.entries import compare_graph, undecided_in, worst_of
from hyperseg_export.parity.module_graph import ModuleGraph
from hyperseg_export.parity.recording import Arrays
from hyperseg_export.parity.saved_calls import SavingGraphs, call_bytes, forget_calls, read_calls
from hyperseg_export.parity.tolerances import Tolerances
from hyperseg_export.precision.typed import choose_precisions, typed_model
from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.manifest import GraphEntry, ParityEntry
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import AT_ONCE, OpenedGraphs, family_of

LIBRARIES_BYTES = 700_000_000
"""torch, ONNX Runtime and the checkpoint's names."""
ACTIVATIONS = 16
"""What a graph needs while it runs, in sizes of what goes in and comes out, caches aside: at the published widths the
image encoder takes 20, the pixel decoder 18, the mask decoder 4."""


def needed_bytes(model: SourceModel) -> int:
    """About the most memory that `measure_bundle` takes that is no page of a file."""
    most = 0
    for spec in model.specs:
        caches, others = call_bytes(spec)
        most = max(most, streamed_bytes(model.module(spec.name)) + ACTIVATIONS * others + 2 * caches)
    return LIBRARIES_BYTES + most


def saved_bytes(model: SourceModel, images: int) -> int:
    """What `measure_bundle` writes into its folder, most of it caches."""
    return images * sum(sum(call_bytes(spec)) for spec in model.specs)


def measure_bundle(
    bundle: Bundle,
    model: SourceModel,
    tolerances: Tolerances,
    images: Sequence[Path],
    folder: Path,
    progress: Progress,
) -> tuple[ParityEntry, ...]:
    """Run the real pipeline on photographs, then each module on the very inputs its graph got.

    `model` is the float32 model, whatever the precision of the bundle. All graphs are used at least once. Few graphs
    are open at once, their calls lie in `folder` until they are compared, and of a module one layer is in memory. ONNX
    Runtime's CPU provider has no bf16: the modules of such graphs take their place, and what is compared
    is the module in bf16.
    """
    count = len(bundle.manifest.graphs)
    progress.stage("parity: pipeline on photographs", 0, count)
    _record(bundle, model, images, folder, progress)
    entries: list[ParityEntry] = []
    for index, graph in enumerate(bundle.manifest.graphs, 1):
        progress.stage(f"parity: {graph.spec.name}", index, count)
        entries += worst_of(graph.spec.name, _compared(graph, model, tolerances, folder, progress))
        forget_calls(folder, graph.spec.name)
    return tuple(entries)


def _compared(
    graph: GraphEntry, model: SourceModel, tolerances: Tolerances, folder: Path, progress: Progress
) -> Iterator[ParityEntry]:
    """Rows of every call."""
    name, precision = graph.spec.name, graph.precision
    wide, apart = _streamed(model, name, partial(progress.phase, "layer")), precision is Precision.BF16
    if apart:  # its caches are bf16 too
        typed = typed_model(model, choose_precisions(model.specs, Precision.FP32, {name: precision}))
        module = _streamed(typed, name)
    for call in read_calls(folder, name):
        reference = _run_module(wide, model.spec(name), call.inputs)
        if apart:
            made = _run_module(module, typed.spec(name), call.inputs)
            yield from compare_graph(name, precision, made, reference, "torch", tolerances)
        else:
            undecided = undecided_in(partial(_run_module, wide, model.spec(name)), call.inputs, tolerances)
            yield from compare_graph(name, precision, call.outputs, reference, "onnxruntime", tolerances, undecided)


def _record(bundle: Bundle, model: SourceModel, images: Sequence[Path], folder: Path, progress: Progress) -> None:
    photograph = 0

    def begins(graph: str) -> None:
        progress.phase(f"{graph} of photograph", photograph, len(images))

    with OnnxRuntimeBackend(low_memory=True) as backend:
        runnable = _Runnable(bundle, model, backend)
        opened = family_of(bundle).open_model(bundle, SavingGraphs(runnable, folder, list(runnable), begins), backend)
        for photograph, image in enumerate(images, 1):  # noqa: B007  (`begins` reads it)
            opened.exercise(load_image(image))


class _Runnable(OpenedGraphs):
    """The bundle's graphs; the float32 module in place of a graph that ONNX Runtime's CPU provider cannot run."""

    def __init__(self, bundle: Bundle, model: SourceModel, backend: Backend) -> None:
        super().__init__(bundle, backend, AT_ONCE)
        self._model = model

    def _open(self, name: str) -> Graph:
        if self._bundle.manifest.graph(name).precision is Precision.BF16:
            return ModuleGraph(self._model.spec(name), _streamed(self._model, name), self._backend)
        return super()._open(name)


def module_of(model: SourceModel, graph: str) -> nn.Module:
    """A graph's module with its weights."""
    module = model.module(graph)
    return materialise(module, model.weights.of_module(module))


def _streamed(
    model: SourceModel, graph: str, begins: Callable[[int, int], None] = lambda layer, layers: None
) -> nn.Module:
    """The same with few of its weights in memory at a time."""
    module = model.module(graph)
    return streamed(module, model.weights.of_module(module), begins)


def _run_module(module: nn.Module, spec: GraphSpec, inputs: Arrays) -> Arrays:
    """Outputs of a graph's module, in types that numpy has."""
    tensors_in = [torch.from_numpy(inputs[t.name]).to(TORCH_DTYPES[t.dtype]) for t in spec.inputs]
    with torch.inference_mode():
        outputs = module(*tensors_in)
    tensors = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return {name: tensor.float().numpy() for name, tensor in zip(spec.output_names(), tensors, strict=True)}
