"""The resize as an ahead-of-time TensorRT plugin; see `hyperseg_kernels.aot_kernel`."""

from hyperseg_kernels import aot_kernel
from hyperseg_kernels.catalog import PILLOW_RESIZE
from hyperseg_kernels.cuda.source import THREADS_PER_BLOCK
from hyperseg_kernels.pillow_resize import cuda_source

TYPES = ", ".join(["FP32|FP16|BF16", *["|".join(["INT32"] * 3)] * 6, "FP32|FP16|BF16"])
"""pixels, row and column tables, resized. Bytes are whole numbers of a float type: TensorRT has bytes at the inputs and
outputs of a network only."""


def register(architecture: str) -> None:
    import tensorrt.plugin as trtp

    identifier = str(PILLOW_RESIZE)

    @trtp.register(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def describe(
        pixels: trtp.TensorDesc,
        first_row_index: trtp.TensorDesc,
        first_row_weight: trtp.TensorDesc,
        column_index: trtp.TensorDesc,
        column_weight: trtp.TensorDesc,
        last_row_index: trtp.TensorDesc,
        last_row_weight: trtp.TensorDesc,
    ) -> trtp.TensorDesc:
        images, _, _, channels = pixels.shape_expr
        size = images, last_row_index.shape_expr[1], column_index.shape_expr[1], channels
        return trtp.from_shape_expr(size, pixels.dtype)

    @trtp.autotune(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def types(
        pixels: trtp.TensorDesc,
        first_row_index: trtp.TensorDesc,
        first_row_weight: trtp.TensorDesc,
        column_index: trtp.TensorDesc,
        column_weight: trtp.TensorDesc,
        last_row_index: trtp.TensorDesc,
        last_row_weight: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
    ) -> list[trtp.AutoTuneCombination]:
        return [trtp.AutoTuneCombination(TYPES, "LINEAR")]

    @trtp.aot_impl(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def implement(
        pixels: trtp.TensorDesc,
        first_row_index: trtp.TensorDesc,
        first_row_weight: trtp.TensorDesc,
        column_index: trtp.TensorDesc,
        column_weight: trtp.TensorDesc,
        last_row_index: trtp.TensorDesc,
        last_row_weight: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        value_type = aot_kernel.VALUE_TYPES[pixels.dtype.name]
        images, height, width, channels = pixels.shape_expr
        tables = first_row_index.shape_expr, column_index.shape_expr, last_row_index.shape_expr
        down = trtp.cdiv(tables[2][1], cuda_source.TILE_ROWS)
        across = trtp.cdiv(tables[1][1] * channels, cuda_source.TILE_NUMBERS)
        launch = trtp.KernelLaunchParams(grid_x=images * down * across, block_x=THREADS_PER_BLOCK)
        sizes = height, width, channels, *(size for table in tables for size in table)
        numbers = trtp.SymIntExprs.from_tuple([trtp.SymInt32(size) for size in sizes])
        code = aot_kernel.machine_code(cuda_source.program(value_type), cuda_source.headers(), architecture)
        return cuda_source.name(value_type), code, launch, numbers
