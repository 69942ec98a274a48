"""Mask readout as an ahead-of-time TensorRT plugin; see `hyperseg_kernels.aot_kernel`."""

from hyperseg_kernels import aot_kernel
from hyperseg_kernels.catalog import MASK_READOUT
from hyperseg_kernels.mask_readout import cuda_source
from hyperseg_kernels.mask_readout.reference import PARTS

TYPES = ", ".join(
    ["FP32|FP16|BF16"]  # mask_logits
    + ["|".join([kind] * 3) for kind in ("INT32", "INT32", "FP32", "INT32", "FP32")]  # shown, row and column tables
    + ["|".join([kind] * 3) for kind in ("FP32", "INT32", "BOOL")]  # sums, areas, pixels
)


def register(architecture: str) -> None:
    import tensorrt as trt
    import tensorrt.plugin as trtp

    identifier = str(MASK_READOUT)

    @trtp.register(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def describe(
        mask_logits: trtp.TensorDesc,
        shown: trtp.TensorDesc,
        row_index: trtp.TensorDesc,
        row_weight: trtp.TensorDesc,
        column_index: trtp.TensorDesc,
        column_weight: trtp.TensorDesc,
    ) -> tuple[trtp.TensorDesc, trtp.TensorDesc, trtp.TensorDesc]:
        images, queries = mask_logits.shape_expr[0], mask_logits.shape_expr[1]
        masks, height, width = shown.shape_expr[1], row_index.shape_expr[1], column_index.shape_expr[1]
        return (
            trtp.from_shape_expr((images, queries, PARTS), trt.DataType.FLOAT),
            trtp.from_shape_expr((images, queries, PARTS), trt.DataType.INT32),
            trtp.from_shape_expr((images, masks, height, width), trt.DataType.BOOL),
        )

    @trtp.autotune(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def types(
        mask_logits: trtp.TensorDesc,
        shown: trtp.TensorDesc,
        row_index: trtp.TensorDesc,
        row_weight: trtp.TensorDesc,
        column_index: trtp.TensorDesc,
        column_weight: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
    ) -> list[trtp.AutoTuneCombination]:
        return [trtp.AutoTuneCombination(TYPES, "LINEAR")]

    @trtp.aot_impl(identifier)  # type: ignore[untyped-decorator, unused-ignore]
    def implement(
        mask_logits: trtp.TensorDesc,
        shown: trtp.TensorDesc,
        row_index: trtp.TensorDesc,
        row_weight: trtp.TensorDesc,
        column_index: trtp.TensorDesc,
        column_weight: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        value_type = aot_kernel.VALUE_TYPES[mask_logits.dtype.name]
        images, queries, height, width = mask_logits.shape_expr
        masks = shown.shape_expr[1]
        block = cuda_source.block(aot_kernel.constant_size(MASK_READOUT, "columns of mask_logits", width))
        launch = trtp.KernelLaunchParams(
            grid_x=images * (queries + masks) * PARTS, block_x=block.threads, shared_mem=block.shared_bytes
        )
        sizes = queries, masks, height, width, row_index.shape_expr[1], column_index.shape_expr[1]
        numbers = trtp.SymIntExprs.from_tuple([trtp.SymInt32(size) for size in sizes])
        code = aot_kernel.machine_code(cuda_source.program(value_type), cuda_source.headers(), architecture)
        return cuda_source.name(value_type), code, launch, numbers
