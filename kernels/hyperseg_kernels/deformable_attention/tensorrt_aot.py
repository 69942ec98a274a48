"""Both forms of the operator as ahead-of-time TensorRT plugins; see `hyperseg_kernels.aot_kernel`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperseg_kernels import aot_kernel
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, PROJECTED_ATTENTION, OperatorName
from hyperseg_kernels.cuda.source import THREADS_PER_BLOCK
from hyperseg_kernels.deformable_attention import cuda_source
from hyperseg_kernels.deformable_attention.cuda_source import Layer

VALUE, FLOAT = "FP32|FP16|BF16", "FP32|FP32|FP32"
GIVEN_TYPES = ", ".join([VALUE, FLOAT, FLOAT, VALUE])
"""Of value, locations, weights and output: value and output are alike, the others float32."""
PROJECTED_TYPES = ", ".join([VALUE, FLOAT, VALUE, VALUE, VALUE])
"""Of value, references, offsets, logits and output: all alike but the references, which are float32."""


def register_given(architecture: str) -> None:
    import tensorrt.plugin as trtp

    identifier = str(DEFORMABLE_ATTENTION)

    @trtp.register(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def describe(
        value: trtp.TensorDesc,
        sampling_locations: trtp.TensorDesc,
        attention_weights: trtp.TensorDesc,
        level_shapes: npt.NDArray[np.int32],
    ) -> trtp.TensorDesc:
        return output_of(value, attention_weights)

    @trtp.autotune(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def types(
        value: trtp.TensorDesc,
        sampling_locations: trtp.TensorDesc,
        attention_weights: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
    ) -> list[trtp.AutoTuneCombination]:
        return [trtp.AutoTuneCombination(GIVEN_TYPES, "LINEAR")]

    @trtp.aot_impl(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def implement(
        value: trtp.TensorDesc,
        sampling_locations: trtp.TensorDesc,
        attention_weights: trtp.TensorDesc,
        level_shapes: npt.NDArray[np.int32],
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        value_type = aot_kernel.VALUE_TYPES[value.dtype.name]
        layer = layer_of(DEFORMABLE_ATTENTION, value.shape_expr, attention_weights.shape_expr, level_shapes)
        source = cuda_source.program(layer, [cuda_source.given_kernel(layer, value_type)])
        code = aot_kernel.machine_code(source, cuda_source.headers(), architecture)
        launch, numbers = launch_of(layer, value, attention_weights)
        return cuda_source.given_name(value_type), code, launch, trtp.SymIntExprs.from_tuple(numbers)


def register_projected(architecture: str) -> None:
    """The first size of the references must be 1 or that of the batch; a dynamic one counts as the batch."""
    import tensorrt.plugin as trtp

    identifier = str(PROJECTED_ATTENTION)

    @trtp.register(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def describe(
        value: trtp.TensorDesc,
        references: trtp.TensorDesc,
        offsets: trtp.TensorDesc,
        logits: trtp.TensorDesc,
        level_shapes: npt.NDArray[np.int32],
    ) -> trtp.TensorDesc:
        return output_of(value, logits)

    @trtp.autotune(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def types(
        value: trtp.TensorDesc,
        references: trtp.TensorDesc,
        offsets: trtp.TensorDesc,
        logits: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
    ) -> list[trtp.AutoTuneCombination]:
        return [trtp.AutoTuneCombination(PROJECTED_TYPES, "LINEAR")]

    @trtp.aot_impl(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def implement(
        value: trtp.TensorDesc,
        references: trtp.TensorDesc,
        offsets: trtp.TensorDesc,
        logits: trtp.TensorDesc,
        level_shapes: npt.NDArray[np.int32],
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        value_type = aot_kernel.VALUE_TYPES[value.dtype.name]
        layer = layer_of(PROJECTED_ATTENTION, value.shape_expr, logits.shape_expr, level_shapes)
        images, queries, per_query, size = references.shape_expr
        reference_size = aot_kernel.constant_size(PROJECTED_ATTENTION, "coordinates of a reference", size)
        levels = aot_kernel.constant_size(PROJECTED_ATTENTION, "references of a query", per_query)
        source = cuda_source.program(layer, [cuda_source.projected_kernel(layer, value_type, reference_size)])
        code = aot_kernel.machine_code(source, cuda_source.headers(), architecture)
        launch, numbers = launch_of(layer, value, logits)
        shared = images.is_constant and images.constant_value() == 1
        image_stride = trtp.SymInt32(0 if shared else queries * (levels * reference_size))
        level_stride = trtp.SymInt32(reference_size if levels > 1 else 0)
        arguments = trtp.SymIntExprs.from_tuple([*numbers, image_stride, level_stride])
        return cuda_source.projected_name(value_type, reference_size), code, launch, arguments


def output_of(value: Any, weights: Any) -> Any:
    import tensorrt.plugin as trtp

    batch, _, heads, channels = value.shape_expr
    return trtp.from_shape_expr((batch, weights.shape_expr[1], heads * channels), value.dtype)


def launch_of(layer: Layer, value: Any, weights: Any) -> tuple[Any, list[Any]]:
    """TensorRT's launch parameters, and the kernel's numbers of lanes and queries."""
    import tensorrt.plugin as trtp

    value_type = aot_kernel.VALUE_TYPES[value.dtype.name]
    batch, queries = weights.shape_expr[0], weights.shape_expr[1]
    lanes = batch * queries * (layer.heads * layer.channels // layer.lane_channels(value_type))
    launch = trtp.KernelLaunchParams(grid_x=trtp.cdiv(lanes, THREADS_PER_BLOCK), block_x=THREADS_PER_BLOCK)
    return launch, [trtp.SymInt32(lanes), trtp.SymInt32(queries)]


def layer_of(
    operator: OperatorName,
    value_shape: Sequence[Any],
    weights_shape: Sequence[Any],
    level_shapes: npt.NDArray[np.int32],
) -> Layer:
    """Sizes that have to be constants of the network. The shapes hold TensorRT's expressions."""
    sizes = {"heads": value_shape[2], "channels": value_shape[3], "points": weights_shape[4]}
    extents = [int(extent) for extent in level_shapes]
    pairs = tuple(zip(extents[::2], extents[1::2], strict=True))
    constants = {name: aot_kernel.constant_size(operator, name, size) for name, size in sizes.items()}
    return Layer(**constants, level_shapes=pairs)
