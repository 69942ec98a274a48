"""SmoothQuant (Xiao et al., arXiv 2211.10438): large channels of an activation are made small in the norm that makes it
and large in the weights that read it, which is the same product and easier to round.

Done where a LayerNormalization feeds layers and nothing else, as in ViT and Phi; elsewhere it would cost a node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hyperseg_export.quantization.layers import Layer, layers_of
from hyperseg_export.quantization.magnitudes import Magnitudes

STRENGTH = 0.5
"""alpha of the paper: how much of the difficulty goes from the activations to the weights."""


@dataclass(frozen=True)
class _Group:
    """A norm and the layers that read it."""

    norm: ir.Node
    layers: tuple[Layer, ...]


def smooth(model: ir.Model, observed: Mapping[str, Magnitudes], skip: frozenset[str]) -> dict[str, float]:
    """Change norms and weights of `model`, in place; name of each changed activation -> its largest size now.

    Layers of these names stay as they are, and with them what their norm feeds.
    """
    changed = {}
    for group in _groups(layers_of(model), skip):
        name = group.norm.outputs[0].name or ""
        if name not in observed or observed[name].largest == 0:
            continue
        found = observed[name].channel_max
        weights = np.max([_row_sizes(layer) for layer in group.layers], axis=0)
        factors = _factors(found, weights)
        for value in group.norm.inputs[1:]:
            if value is not None:
                _scale(value, 1 / factors)
        for layer in group.layers:
            _scale(layer.weight, factors[:, None])
        changed[name] = float((found / factors).max())
    return changed


def _groups(layers: Sequence[Layer], skip: frozenset[str]) -> list[_Group]:
    readers: dict[ir.Node, list[Layer]] = {}
    for layer in layers:
        for value in layer.inputs:
            norm = value.producer()
            if norm is not None and norm.op_type == "LayerNormalization":
                readers.setdefault(norm, []).append(layer)
    return [_Group(norm, tuple(found)) for norm, found in readers.items() if _belongs(norm, found, skip)]


def _belongs(norm: ir.Node, layers: Sequence[Layer], skip: frozenset[str]) -> bool:
    """Whether nothing else reads the norm, and nothing else its constants and the weights."""
    output = norm.outputs[0]
    plain = all(
        layer.name not in skip and len(layer.nodes) == 1 and layer.nodes[0].op_type == "MatMul" for layer in layers
    )
    constants = [value for value in norm.inputs[1:] if value is not None]
    own = all(value.is_initializer() and len(value.uses()) == 1 for value in constants)
    return plain and own and len(output.uses()) == len(layers) and not output.is_graph_output()


def _row_sizes(layer: Layer) -> np.ndarray:
    """The largest weight of each input, (inputs,)."""
    assert layer.weight.const_value is not None
    sizes: np.ndarray = np.abs(layer.weight.const_value.numpy().astype(np.float32)).max(axis=1)
    return sizes


def _factors(activation: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What each channel is divided by: powers of two, so that no number of the norm or the weights is rounded."""
    safe = np.maximum(activation, 1e-5) ** STRENGTH / np.maximum(weight, 1e-5) ** (1 - STRENGTH)
    factors: np.ndarray = np.exp2(np.rint(np.log2(safe))).astype(np.float32)
    return factors


def _scale(value: ir.Value, factors: np.ndarray) -> None:
    """Multiply an initializer when it is read."""
    tensor, dtype = value.const_value, value.dtype
    assert tensor is not None and dtype is not None and value.shape is not None

    def read() -> ir.TensorProtocol:
        return ir.Tensor((tensor.numpy() * factors).astype(dtype.numpy()), name=value.name)

    value.const_value = ir.LazyTensor(read, dtype=dtype, shape=value.shape, name=value.name)
