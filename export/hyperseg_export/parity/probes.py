"""Looking inside a graph without touching its module: extra outputs taken from the parts of the module."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hyperseg_export.checkpoint.weights import ModuleWeights
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_runtime.contracts.axes import names_in, size_of
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, TensorSpec
from hyperseg_runtime.errors import ExportError

Taps = Mapping[str, Sequence[Any]]
"""Path of a part -> its outputs, one per time it was called."""

FIRST_PRIME = 10007
"""Stand-in sizes for named axes while shapes are traced; no real size is a prime this large."""
APART = 101
"""Steps between two of them: more than any factor that derives a size from one, so that derived ones differ too."""


@dataclass(frozen=True)
class Probe:
    """`paths` are the parts to tap; `outputs(taps, inputs)` makes named tensors of what they gave.

    `axes` are expressions of the graph's named axes that sizes of these tensors may come to.
    """

    paths: tuple[str, ...]
    outputs: Callable[[Taps, Sequence[Tensor]], dict[str, Tensor]]
    axes: tuple[str, ...] = ()


NO_PROBE = Probe((), lambda taps, inputs: {})


class Probed(nn.Module):
    """A module that returns its outputs followed by the probe's, in the order of their names."""

    def __init__(self, module: nn.Module, probe: Probe) -> None:
        super().__init__()
        self.module = module
        self._probe = probe
        self.eval()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, extra = self.run(inputs)
        return *outputs, *(extra[name] for name in sorted(extra))

    @property
    def probe_axes(self) -> tuple[str, ...]:
        return self._probe.axes

    def run(self, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        taps: dict[str, list[Any]] = {path: [] for path in self._probe.paths}
        handles = [
            self.module.get_submodule(path).register_forward_hook(
                lambda part, given, made, path=path: taps[path].append(made)
            )
            for path in self._probe.paths
        ]
        try:
            outputs = self.module(*inputs)
        finally:
            for handle in handles:
                handle.remove()
        listed = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        return listed, self._probe.outputs(taps, inputs)


class ProbedWeights:
    """Values for a `Probed` module by the names its parameters have there."""

    def __init__(self, values: ModuleWeights) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name.removeprefix("module.")]


def probed_spec(module: Probed, spec: GraphSpec) -> GraphSpec:
    """`spec` with the probe's outputs added; their shapes are traced on the meta device."""
    ranges = spec.axis_ranges.items()
    sizes = {
        axis: limits.stand_in(FIRST_PRIME + index * APART * limits.step) for index, (axis, limits) in enumerate(ranges)
    }
    known = [axis for axis in dict.fromkeys(module.probe_axes) if set(names_in(axis)) <= set(sizes)]
    derived = {size_of(axis, sizes): axis for axis in known}
    if len(derived) < len(known):
        raise ExportError(f"graph {spec.name}: two of {', '.join(known)} have one size where shapes are traced")
    names = {**derived, **{size: axis for axis, size in sizes.items()}}
    inputs = [
        torch.empty(tensor.shape(sizes), dtype=TORCH_DTYPES[tensor.dtype], device="meta") for tensor in spec.inputs
    ]
    _, extra = module.run(inputs)
    dtypes = {torch_dtype: dtype for dtype, torch_dtype in TORCH_DTYPES.items()}
    added = tuple(
        TensorSpec(
            name=name,
            dtype=DType(dtypes[tensor.dtype]),
            axes=tuple(names.get(extent, extent) for extent in tensor.shape),
        )
        for name, tensor in sorted(extra.items())
    )
    return spec.model_copy(update={"outputs": (*spec.outputs, *added)})
