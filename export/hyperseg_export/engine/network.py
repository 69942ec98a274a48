"""ONNX file -> TensorRT network definition, with everything the parser reports turned into one error."""

from pathlib import Path
from typing import Any

from hyperseg_export.engine.profiles import Profile
from hyperseg_runtime.backends.tensorrt.engine import tensor_type
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import EngineError

FUSED_HEAD_WIDTHS = range(16, 257, 8)


def parse(trt: Any, builder: Any, logger: Any, path: Path, spec: GraphSpec) -> Any:
    """The network of one ONNX file. Raises EngineError with the parser's findings.

    The network must outlive the parser: the bindings of 11.4 keep no reference to it.
    """
    # Without the flag TensorRT 10 would choose types itself; TensorRT 11 knows nothing else.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        found = [parser.get_error(index) for index in range(parser.num_errors)]
        lines = [f"{e.node_operator()} ({e.node_name()}): {e.desc()}" for e in found] or logger.messages
        raise EngineError(f"graph {spec.name}: TensorRT {trt.__version__} cannot read it:\n  " + "\n  ".join(lines))
    _check_tensors(trt, network, spec)
    return network


def decompose_attention(trt: Any, network: Any) -> list[str]:
    """Let attention run as separate layers where TensorRT has no fused kernel for it, instead of failing to build.

    Returns the names of layers that are known to have none: float32, and some head widths. Which others have one
    depends on GPU and release; the mark does not keep TensorRT from using it. ONNX Runtime rejects the equivalent
    node attribute, so it is set here and not in the file.
    """
    without_kernel = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type != trt.LayerType.ATTENTION_INPUT:
            continue
        query = layer.get_input(0)
        if query.dtype == trt.DataType.FLOAT or query.shape[-1] not in FUSED_HEAD_WIDTHS:
            without_kernel.append(layer.name)
        # get_layer gives the base class; TensorRT's own tools reach a layer's settings the same way.
        layer.__class__ = trt.IAttentionInputLayer
        attention_input = layer
        attention = attention_input.attention
        attention.decomposable = True
    return without_kernel


def add_profile(builder: Any, config: Any, spec: GraphSpec, profile: Profile) -> None:
    """Register `profile`. Raises EngineError where TensorRT finds it inconsistent."""
    ranges = builder.create_optimization_profile()
    for tensor in spec.inputs:
        ranges.set_shape(tensor.name, *profile.shapes(tensor))
    if config.add_optimization_profile(ranges) < 0:
        raise EngineError(f"graph {spec.name}: TensorRT refuses the profile {profile.name}")


def _check_tensors(trt: Any, network: Any, spec: GraphSpec) -> None:
    """The network's inputs and outputs are the contract's: names, order and types."""
    for count, get, tensors in (
        (network.num_inputs, network.get_input, spec.inputs),
        (network.num_outputs, network.get_output, spec.outputs),
    ):
        found = [(get(index).name, get(index).dtype) for index in range(count)]
        wanted = [(tensor.name, tensor_type(trt, tensor.dtype)) for tensor in tensors]
        if found != wanted:
            different = [f"{f} instead of {w}" for f, w in zip(found, wanted, strict=False) if f != w]
            raise EngineError(f"graph {spec.name}: TensorRT reads {'; '.join(different) or f'{count} tensors'}")
