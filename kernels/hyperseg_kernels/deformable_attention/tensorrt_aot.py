"""The operator as an ahead-of-time TensorRT plugin: the kernel goes into the engine, nothing ships beside it.

`register()` before a network with the node is parsed; the process that only runs the engine needs nothing. The
kernel is compiled for the GPU of the building process and for the layer's sizes, which the engine keeps.
TensorRT 11.4 calls this interface experimental; kernels/README.md compares it with the C++ plugin.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperseg_kernels import cuda_driver, nvrtc
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION
from hyperseg_kernels.cuda import THREADS_PER_BLOCK, ValueType
from hyperseg_kernels.deformable_attention import cuda_source
from hyperseg_kernels.deformable_attention.cuda_source import Layer

TYPES = "FP32|FP16|BF16, FP32|FP32|FP32, FP32|FP32|FP32, FP32|FP16|BF16"
"""Of value, locations, weights and output: value and output are alike, the others float32."""


def register() -> None:
    """Make the plugin known to the TensorRT of this process; once.

    Raises ImportError without TensorRT.
    """
    import tensorrt.plugin as trtp

    identifier = str(DEFORMABLE_ATTENTION)

    @trtp.register(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def describe(
        value: trtp.TensorDesc,
        sampling_locations: trtp.TensorDesc,
        attention_weights: trtp.TensorDesc,
        level_shapes: npt.NDArray[np.int32],
    ) -> trtp.TensorDesc:
        batch, _, heads, channels = value.shape_expr
        queries = attention_weights.shape_expr[1]
        return trtp.from_shape_expr((batch, queries, heads * channels), value.dtype)

    @trtp.autotune(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def types(
        value: trtp.TensorDesc,
        sampling_locations: trtp.TensorDesc,
        attention_weights: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
    ) -> list[trtp.AutoTuneCombination]:
        return [trtp.AutoTuneCombination(TYPES, "LINEAR")]

    @trtp.aot_impl(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def implement(
        value: trtp.TensorDesc,
        sampling_locations: trtp.TensorDesc,
        attention_weights: trtp.TensorDesc,
        level_shapes: npt.NDArray[np.int32],
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        value_type = value_type_of(value.dtype.name)
        layer = layer_of(value.shape_expr, attention_weights.shape_expr, level_shapes)
        batch, queries = attention_weights.shape_expr[0], attention_weights.shape_expr[1]
        lanes_per_query = layer.heads * layer.channels // layer.lane_channels(value_type)
        lanes = batch * queries * lanes_per_query
        threads = THREADS_PER_BLOCK
        launch = trtp.KernelLaunchParams(grid_x=trtp.cdiv(lanes, threads), block_x=threads)
        numbers = trtp.SymIntExprs.from_tuple([trtp.SymInt32(lanes), trtp.SymInt32(queries)])
        return cuda_source.given_name(value_type), machine_code(layer, value_type), launch, numbers


def layer_of(value_shape: Sequence[Any], weights_shape: Sequence[Any], level_shapes: npt.NDArray[np.int32]) -> Layer:
    """Sizes that have to be constants of the network. The shapes hold TensorRT's expressions."""
    sizes = {"heads": value_shape[2], "channels": value_shape[3], "points": weights_shape[4]}
    for name, size in sizes.items():
        if not size.is_constant:
            raise ValueError(f"{DEFORMABLE_ATTENTION}: the number of {name} must not be dynamic")
    extents = [int(extent) for extent in level_shapes]
    pairs = tuple(zip(extents[::2], extents[1::2], strict=True))
    return Layer(**{name: size.constant_value() for name, size in sizes.items()}, level_shapes=pairs)


def value_type_of(tensorrt_name: str) -> ValueType:
    """From the name of a `tensorrt.DataType`."""
    return {"FLOAT": ValueType.FLOAT32, "HALF": ValueType.FLOAT16, "BF16": ValueType.BFLOAT16}[tensorrt_name]


def machine_code(layer: Layer, value_type: ValueType) -> bytes:
    source = cuda_source.program(layer, [cuda_source.given_kernel(layer, value_type)])
    return nvrtc.compile_cubin(source, cuda_source.headers(), cuda_driver.architecture()).image
