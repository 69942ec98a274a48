"""Which graph costs how much of the task metric, and which of its layers move its outputs most."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir

from hyperseg_export.jobs.progress import Progress
from hyperseg_export.parity.compare import cosine_distance
from hyperseg_export.parity.recording import Call
from hyperseg_export.parity.saved_calls import read_calls
from hyperseg_export.quantization.gate import Gate
from hyperseg_export.quantization.layers import layers_of
from hyperseg_export.quantization.magnitudes import Magnitudes
from hyperseg_export.quantization.observing import open_in_memory
from hyperseg_export.quantization.qdq import LayerRecipe, quantise
from hyperseg_export.quantization.ranges import Method, range_of
from hyperseg_export.quantization.workshop import Mix, Workshop
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.manifest import GraphEntry
from hyperseg_runtime.bundle.quantization import GateEntry
from hyperseg_runtime.contracts.quantization import Scheme

SHOWN_LAYERS = 3


def alone(workshop: Workshop, gate: Gate, entry: GraphEntry) -> GateEntry:
    """What the bundle loses by this graph alone."""
    name = entry.spec.name
    return gate.judge(workshop.written(Mix({name: entry}, {})), f"alone-{Path(entry.file).stem}")


def explain(workshop: Workshop, gate: Gate, mix: Mix, progress: Progress) -> list[str]:
    """A line for each graph of a mix that fails, the costliest first; those that fail alone with their worst layers."""
    found = []
    for index, (name, entry) in enumerate(mix.rounded.items(), 1):
        progress.stage(f"sensitivity: {name}", index, len(mix.rounded))
        found.append((alone(workshop, gate, entry), entry))
    found.sort(key=lambda pair: -pair[0].measures[0].drop)
    return [_line(workshop, one, entry) for one, entry in found]


def _line(workshop: Workshop, one: GateEntry, entry: GraphEntry) -> str:
    first, rounded = one.measures[0], entry.rounded
    low, high = first.interval
    told = f"{entry.spec.name} ({rounded.scheme if rounded else ''}) alone: {first.drop:.2f} ({low:.2f} to {high:.2f})"
    if not one.failures or rounded is None:
        return told
    with TemporaryDirectory() as folder:
        workshop.record(Path(folder), [entry.spec.name])
        calls = list(read_calls(Path(folder), entry.spec.name))
        worst = layer_errors(workshop, entry.spec.name, rounded.scheme, calls)[:SHOWN_LAYERS]
    return told + ", most by " + ", ".join(f"{layer} ({distance:.1e})" for layer, distance in worst)


def layer_errors(workshop: Workshop, graph: str, scheme: Scheme, calls: Sequence[Call]) -> list[tuple[str, float]]:
    """Layers of a graph with the cosine distance of its worst output where that layer alone is rounded, worst first.

    One session at a time; weights that are not rounded stay in the bundle's files.
    """
    entry = workshop.bundle.manifest.graph(graph)
    path = workshop.bundle.directory / entry.file
    observed: Mapping[str, Magnitudes] = workshop.observed.get(graph, {})
    ranges = {name: range_of(found, Method.MAX) for name, found in observed.items()}
    found = []
    with OnnxRuntimeBackend(emulated=scheme is Scheme.FP8) as backend:
        for name in [layer.name for layer in layers_of(ir.load(path))]:
            model = ir.load(path)
            only = {f"^(?!{re.escape(name)}$)": "another layer's turn"}
            if not quantise(model, LayerRecipe(scheme, skip=only), ranges).layers:
                continue
            opened = open_in_memory(model, entry.spec, path, backend)
            distances = []
            for call in calls:
                made = opened.run({key: backend.upload(value.copy()) for key, value in call.inputs.items()})
                distances += [cosine_distance(made[key].to_host(), call.outputs[key]) for key in made]
            found.append((name, max(distances)))
    return sorted(found, key=lambda pair: -pair[1])
