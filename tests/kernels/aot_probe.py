"""Ask the ahead-of-time plugins what TensorRT asks, with TensorRT's own Python layer; prints one JSON object.

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
    get_creator=lambda name, version, namespace: next(one for one, _ in creators if one.name == name),
)
sys.modules["tensorrt"] = trt
import tensorrt_bindings.plugin as trtp  # noqa: E402
from tensorrt_bindings.plugin import _lib, _tensor  # noqa: E402

sys.modules["tensorrt.plugin"] = trtp
trt.plugin = trtp

from hyperseg_kernels import tensorrt_aot  # noqa: E402
from hyperseg_kernels.deformable_attention import tensorrt_aot as attention  # noqa: E402
from hyperseg_kernels.mask_readout import tensorrt_aot as readout  # noqa: E402

LEVEL_SHAPES = np.array([4, 5, 8, 9], np.int32)  # 92 rows
TYPES = {"float32": trt.DataType.FLOAT, "float16": trt.DataType.HALF, "bfloat16": trt.DataType.BF16}
FLOAT, INT32 = trt.DataType.FLOAT, trt.DataType.INT32


def tensor(dtype: Any, *sizes: int | None) -> Any:
    return trtp.from_shape_expr(tuple(trtp.ShapeExpr(Number(size)) for size in sizes), dtype)


def number(expression: Any) -> int | None:
    found: int | None = expression._expr.value
    return found


def given(value: Any, points: int | None = 4) -> dict[str, Any]:
    inputs = [
        tensor(value, 2, 92, 8, 32),
        tensor(FLOAT, 2, 70, 8, 2, points, 2),
        tensor(FLOAT, 2, 70, 8, 2, points),
    ]
    return probe("MultiScaleDeformableAttention", inputs, [LEVEL_SHAPES])


def projected(value: Any, *references: int | None) -> dict[str, Any]:
    inputs = [
        tensor(value, 2, 92, 8, 32),
        tensor(FLOAT, *references),
        tensor(value, 2, 70, 8, 2, 4, 2),
        tensor(value, 2, 70, 8, 2, 4),
    ]
    return probe("ProjectedDeformableAttention", inputs, [LEVEL_SHAPES])


def masks(value: Any, width: int | None = 256) -> dict[str, Any]:
    tables = [tensor(kind, 4, size) for size in (480, 640) for kind in (INT32, FLOAT)]
    return probe("MaskReadout", [tensor(value, 2, 100, 200, width), tensor(INT32, 2, 3), *tables], [])


def probe(name: str, inputs: list[Any], attributes: list[Any]) -> dict[str, Any]:
    plugin = _lib.QDP_REGISTRY[f"hyperseg::{name}"]
    described = plugin.register_func(*inputs, *attributes)
    outputs = described if isinstance(described, tuple) else (described,)
    try:
        kernel, image, launch, numbers = plugin.aot_impl_func(*inputs, *attributes, outputs, 0)
    except ValueError as error:
        return {"error": str(error)}
    return {
        "outputs": [[one.dtype.name, *(number(size) for size in one.shape_expr)] for one in outputs],
        "kernel": kernel,
        "is_machine_code": image.startswith(b"\x7fELF") and kernel.encode() in image,
        "grid": [number(getattr(launch, f"grid_{axis}")) for axis in "xyz"],
        "block": [number(getattr(launch, f"block_{axis}")) for axis in "xyz"],
        "shared_bytes": number(launch.shared_mem),
        "numbers": [number(one) for one in numbers],
        "number_types": sorted({type(one).__name__ for one in numbers}),
    }


def combinations(types: str) -> list[str]:
    made = trtp.AutoTuneCombination(types, "LINEAR")._get_combinations()
    return sorted({",".join(kind.name for kind in one.types) for one in made})


_tensor.SymIntExpr._exprBuilder = Builder()
tensorrt_aot.register("sm_90")
print(
    json.dumps(
        {
            "registered": [
                [namespace, one.name, one.plugin_version, [field.name for field in one.field_names]]
                for one, namespace in creators
            ],
            "types": {
                "given": combinations(attention.GIVEN_TYPES),
                "projected": combinations(attention.PROJECTED_TYPES),
                "masks": combinations(readout.TYPES),
            },
            "given": {name: given(kind) for name, kind in TYPES.items()},
            "projected": {name: projected(kind, 1, 70, 1, 2) for name, kind in TYPES.items()},
            "boxes of every image": projected(FLOAT, 2, 70, 2, 4),
            "points of a dynamic batch": projected(FLOAT, None, 70, 2, 2),
            "masks": {name: masks(kind) for name, kind in TYPES.items()},
            "wide masks": masks(FLOAT, 4000),
            "dynamic": [given(FLOAT, points=None), projected(FLOAT, 1, 70, None, 2), masks(FLOAT, width=None)],
        }
    )
)
