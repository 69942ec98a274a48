"""A backend on which real requests tell how large the activations of each graph are.

Graphs are the bundle's own with further outputs, which ONNX Runtime makes small where they arise: of each input of a
layer the largest size per channel, its sum (no number where any value is none), and a sample of its values. So no
activation is kept, and memory does not grow with the size of a graph or the count of requests.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from hyperseg_export.quantization.layers import layers_of
from hyperseg_export.quantization.magnitudes import Magnitudes
from hyperseg_runtime.backends.base import Buffer, Graph
from hyperseg_runtime.backends.onnxruntime.backend import OnnxRuntimeBackend, OnnxRuntimeGraph
from hyperseg_runtime.backends.onnxruntime.cpu_defaults import PROVIDERS, run_options, weight_bytes
from hyperseg_runtime.backends.onnxruntime.session import memory_explained
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, TensorSpec
from hyperseg_runtime.errors import NumericsError

SAMPLE = 65_536
"""About so many values of an activation are looked at in one call."""
LARGEST, SUM, VALUES = "largest", "sum", "values"
Observed = dict[str, dict[str, Magnitudes]]
"""Graph -> activation -> sizes."""


class ObservingBackend(OnnxRuntimeBackend):
    """`observed` grows with every call. Graphs that compute exactly are not looked at: they are never rounded."""

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(threads)
        self.begin(lambda graph: None)

    def begin(self, tell: Callable[[str], None]) -> None:
        """Forget what was seen. `tell` gets the name of each graph that runs from here on."""
        self.observed: Observed = {}
        self.calls: dict[str, int] = {}
        self.tell = tell

    def open(self, spec: GraphSpec, path: Path) -> Graph:
        if spec.exact:
            return super().open(spec, path)
        model = ir.load(path)
        watched = watch(model, spec)
        return _ObservingGraph(spec, open_in_memory(model, watched, path, self), self)


def open_in_memory(model: ir.Model, spec: GraphSpec, path: Path, backend: OnnxRuntimeBackend) -> OnnxRuntimeGraph:
    """A changed form of the graph at `path`, whose other weights stay where they are."""
    options = backend.session_options(weight_bytes(path))
    # Where weights of a graph in memory lie (onnxruntime_session_options_config_keys.h).
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    content = ir.to_proto(model).SerializeToString()
    with memory_explained(path.name):
        session = ort.InferenceSession(content, options, providers=PROVIDERS)
    return OnnxRuntimeGraph(spec, session, run_options(spec, low_memory=False))


@dataclass
class _ObservingGraph(OnnxRuntimeGraph):
    spec: GraphSpec
    graph: OnnxRuntimeGraph
    backend: ObservingBackend = field(repr=False)

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Raises NumericsError for an activation that is no number."""
        self.backend.tell(self.spec.name)
        outputs = self.graph.run(inputs)
        own = {name: outputs.pop(name) for name in self.spec.output_names()}
        found = self.backend.observed.setdefault(self.spec.name, {})
        self.backend.calls[self.spec.name] = self.backend.calls.get(self.spec.name, 0) + 1
        for name in [name.removesuffix(f".{SUM}") for name in outputs if name.endswith(f".{SUM}")]:
            if not np.isfinite(outputs[f"{name}.{SUM}"].to_host()).all():
                raise NumericsError(
                    f"graph {self.spec.name}: {name} held NaN or infinite values in calibration, which have no range; "
                    "calibrate with pictures on which the bundle gives masks, and see with verify that it is whole"
                )
            made = Magnitudes.of(outputs[f"{name}.{VALUES}"].to_host(), outputs[f"{name}.{LARGEST}"].to_host())
            found[name] = found[name].joined(made) if name in found else made
        return own


def watch(model: ir.Model, spec: GraphSpec) -> GraphSpec:
    """Give the graph, in place, three more outputs for every activation that a layer reads; the contract with them."""
    tensors = []
    for value, channel_axis in _activations(model).values():
        name = value.name or ""
        last = list(model.graph)[-1]
        rank = len(value.shape) if value.shape is not None else 0
        others = [axis for axis in range(rank) if axis != channel_axis % rank]
        wide = _after(last, "Cast", [value], f"{name}.wide", to=int(ir.DataType.FLOAT))
        sizes = _after(wide, "Abs", [wide.outputs[0]], f"{name}.sizes")
        axes = _constant(model, f"{name}.axes", np.array(others, np.int64))
        largest = _after(sizes, "ReduceMax", [sizes.outputs[0], axes], f"{name}.{LARGEST}", keepdims=0)
        total = _after(largest, "ReduceSum", [sizes.outputs[0]], f"{name}.{SUM}", keepdims=0)
        flat_shape = _constant(model, f"{name}.flat_shape", np.array([-1], np.int64))
        flat = _after(total, "Reshape", [sizes.outputs[0], flat_shape], f"{name}.flat")
        bounds = [0, np.iinfo(np.int64).max, 0, _step(value, spec)]
        slices = [_constant(model, f"{name}.slice{i}", np.array([bound], np.int64)) for i, bound in enumerate(bounds)]
        sampled = _after(flat, "Slice", [flat.outputs[0], *slices], f"{name}.{VALUES}")
        channels = value.shape[channel_axis] if value.shape is not None else None
        shapes = {LARGEST: (largest, (channels,)), SUM: (total, ()), VALUES: (sampled, (f"{name}.sample",))}
        for kind, (node, axes_of) in shapes.items():
            output = node.outputs[0]
            output.dtype, output.shape = ir.DataType.FLOAT, ir.Shape(axes_of)
            model.graph.outputs.append(output)
            tensors.append(TensorSpec(name=f"{name}.{kind}", dtype=DType.FLOAT32, axes=()))
    return spec.model_copy(update={"outputs": (*spec.outputs, *tensors)})


def _activations(model: ir.Model) -> dict[str, tuple[ir.Value, int]]:
    """Name -> the value and the axis of its channels."""
    return {
        value.name or "": (value, 1 if node.op_type == "Conv" else -1)
        for layer in layers_of(model)
        for node, value in zip(layer.nodes, layer.inputs, strict=True)
    }


def _step(value: ir.Value, spec: GraphSpec) -> int:
    """Every so many values one is looked at, so that about SAMPLE are; odd, so that channels take turns."""
    typical = {axis: limits.typical for axis, limits in spec.axis_ranges.items()}
    sizes = [dim if isinstance(dim, int) else typical.get(str(dim.value), 1) for dim in value.shape or ()]
    return max(1, math.prod(sizes) // SAMPLE) | 1


def _after(place: ir.Node, kind: str, inputs: list[ir.Value], output: str, **attributes: int) -> ir.Node:
    made = ir.Node("", kind, inputs, attributes=[ir.AttrInt64(key, value) for key, value in attributes.items()])
    made.outputs[0].name = output
    assert place.graph is not None
    place.graph.insert_after(place, [made])
    return made


def _constant(model: ir.Model, name: str, values: np.ndarray) -> ir.Value:
    tensor = ir.Tensor(values, name=name)
    value = ir.Value(name=name, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    model.graph.register_initializer(value)
    return value
