"""The number format a graph computes in, and what it does to the graph's contract."""

from enum import StrEnum

from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, TensorSpec


class Precision(StrEnum):
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"

    @property
    def dtype(self) -> DType:
        return {Precision.FP32: DType.FLOAT32, Precision.FP16: DType.FLOAT16, Precision.BF16: DType.BFLOAT16}[self]


def typed_spec(spec: GraphSpec, precision: Precision) -> GraphSpec:
    """The contract of `spec`'s graph in `precision`.

    Key/value caches are stored in it: they are the largest buffers, and a cast between the graph's input and
    its output would keep an engine from updating them in place. Everything else stays float32, so graphs of
    different precision fit together and the host needs no second number format.
    """
    cached = {*spec.in_place, *spec.in_place.values()}

    def typed(tensor: TensorSpec) -> TensorSpec:
        return tensor.model_copy(update={"dtype": precision.dtype}) if tensor.name in cached else tensor

    return spec.model_copy(
        update={"inputs": tuple(map(typed, spec.inputs)), "outputs": tuple(map(typed, spec.outputs))}
    )
