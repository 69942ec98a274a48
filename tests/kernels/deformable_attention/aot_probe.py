"""Ask the ahead-of-time plugin what TensorRT asks, with TensorRT's own Python layer; prints one JSON object.

Runs in a process of its own, on stub libraries: expressions are numbers here, and the plugin registry is a list.
"""

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorrt_bindings as trt


@dataclass(frozen=True)
class Number:
    """Stands in for an expression of TensorRT's shape calculus; None is a dynamic size."""

    value: int | None

    def is_constant(self) -> bool:
        return self.value is not None

    def get_constant_value(self) -> int | None:
        return self.value


class Builder:
    def constant(self, value: int) -> Number:
        return Number(value)

    def operation(self, operation: Any, first: Number, second: Number) -> Number:
        if first.value is None or second.value is None:
            return Number(None)
        results = {
            trt.DimensionOperation.SUM: first.value + second.value,
            trt.DimensionOperation.PROD: first.value * second.value,
            trt.DimensionOperation.CEIL_DIV: -(-first.value // second.value),
        }
        return Number(results[operation])


creators: list[Any] = []
trt.IDimensionExpr = Number
trt.get_plugin_registry = lambda: SimpleNamespace(
    register_creator=lambda creator, namespace: creators.append((creator, namespace)),
    get_creator=lambda name, version, namespace: creators[0][0],
)
sys.modules["tensorrt"] = trt
import tensorrt_bindings.plugin as trtp  # noqa: E402
from tensorrt_bindings.plugin import _lib, _tensor  # noqa: E402

sys.modules["tensorrt.plugin"] = trtp
trt.plugin = trtp

from hyperseg_kernels import cuda_driver  # noqa: E402
from hyperseg_kernels.deformable_attention import tensorrt_aot  # noqa: E402

LEVEL_SHAPES = np.array([4, 5, 8, 9], np.int32)  # 92 rows


def tensor(dtype: Any, *sizes: int | None) -> Any:
    return trtp.from_shape_expr(tuple(trtp.ShapeExpr(Number(size)) for size in sizes), dtype)


def number(expression: Any) -> int | None:
    found: int | None = expression._expr.value
    return found


def probe(dtype: Any, points: int | None = 4) -> dict[str, Any]:
    plugin = _lib.QDP_REGISTRY["hyperseg::MultiScaleDeformableAttention"]
    float32 = trt.DataType.FLOAT
    inputs = [
        tensor(dtype, 2, 92, 8, 32),
        tensor(float32, 2, 70, 8, 2, points, 2),
        tensor(float32, 2, 70, 8, 2, points),
    ]
    output = plugin.register_func(*inputs, LEVEL_SHAPES)
    try:
        made = plugin.aot_impl_func(*inputs, LEVEL_SHAPES, (output,), 0)
    except ValueError as error:
        return {"error": str(error)}
    name, image, launch, numbers = made
    return {
        "output_shape": [number(size) for size in output.shape_expr],
        "output_type": output.dtype.name,
        "kernel": name,
        "is_machine_code": image.startswith(b"\x7fELF") and name.encode() in image,
        "grid": [number(getattr(launch, f"grid_{axis}")) for axis in "xyz"],
        "block": [number(getattr(launch, f"block_{axis}")) for axis in "xyz"],
        "numbers": [number(one) for one in numbers],
        "number_types": [type(one).__name__ for one in numbers],
    }


_tensor.SymIntExpr._exprBuilder = Builder()
cuda_driver.architecture = lambda: "sm_90"
tensorrt_aot.register()
(creator, namespace), *_ = creators
combinations = trtp.AutoTuneCombination(tensorrt_aot.TYPES, "LINEAR")._get_combinations()
print(
    json.dumps(
        {
            "registered": [namespace, creator.name, creator.plugin_version, [f.name for f in creator.field_names]],
            "types": sorted({",".join(str(kind) for kind in one.types) for one in combinations}),
            "float32": probe(trt.DataType.FLOAT),
            "float16": probe(trt.DataType.HALF),
            "bfloat16": probe(trt.DataType.BF16),
            "dynamic_points": probe(trt.DataType.FLOAT, points=None),
        }
    )
)
