"""What TensorRT's engine inspector says of an engine's layers, in the words of every release we build with.

10.x   A tensor has "Format/Datatype": the type alone in layers that Myelin compiled ("Half"; NVIDIA/TensorRT 11.1,
       samples/sampleEditableTimingCache/README.md), in others a format that contains it ("Row major linear FP16
       format (kLINEAR)"), and "N/A due to dynamic shapes" where nobody told the shapes.
11.x   The field became two, "Datatype" and "Format" (TensorRT 11.0 to 11.4, "Migrating IEngineInspector Usage from
       TensorRT 10.x to 11.x"; NVIDIA/TensorRT 11.1, .agents/skills/trt-perf-analysis/schemas).
both   Formats of dynamic shapes are shown only for an execution context whose input shapes are all set
       (NvInferRuntime.h 11.1, IEngineInspector::setExecutionContext).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hyperseg_runtime.errors import AuditError

INSPECTOR_TYPES = {
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp8": "float8",
    "e8m0": "float8",
    "fp4": "float4",
    "uint8": "uint8",
    "int8": "int8",
    "int4": "int4",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
    "fp32": "float32",
    "float": "float32",
}
"""What the inspector's descriptions of types contain -> our name; the first that fits counts."""
TYPE_FIELDS = ("Datatype", "Format/Datatype", "DataType")
"""Where a tensor's type stands: 11.x, 10.x, and the inputs and outputs of a whole engine in 11.x."""
UNKNOWN = "unknown"
"""TensorRT does not tell the type. That proves neither that the plan was held nor that it was not."""


@dataclass(frozen=True)
class Layer:
    """One layer of an engine: what it is called and the types it puts out and holds."""

    name: str
    kind: str
    tactic: str
    outputs: tuple[str, ...]
    weights: tuple[str, ...]


def inspect_layers(trt: Any, engine: Any) -> list[list[Layer]]:
    """The layers of each profile. Raises AuditError where the inspector gives no types at all."""
    inspector = engine.create_engine_inspector()
    found = []
    for profile in range(engine.num_optimization_profiles):
        context = typical_context(trt, engine, profile)
        inspector.execution_context = context
        found.append(read_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON)))
        inspector.execution_context = None  # it keeps no reference to a context
    return found


def typical_context(trt: Any, engine: Any, profile: int) -> Any:
    """A context set to the profile's typical shapes; None where TensorRT gives none, as for a plan without weights.

    It computes nothing, so it needs no memory for activations: USER_MANAGED leaves that to the caller.
    """
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    default_stream = 0
    if context is None or not context.set_optimization_profile_async(profile, default_stream):
        return None
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            _, typical, _ = engine.get_tensor_profile_shape(name, profile)
            if not context.set_input_shape(name, typical):
                return None
    return context


def read_layers(inspector_json: str) -> list[Layer]:
    """Layers of the inspector's report. Raises AuditError where it tells names only or is no report."""
    try:
        entries = json.loads(inspector_json)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError(f"TensorRT's engine inspector gave no readable report: {error!r}") from error
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise AuditError("TensorRT's engine inspector tells no types; the engine needs detailed profiling verbosity")
    return [
        Layer(
            name=str(entry.get("Name", "")),
            kind=str(entry.get("LayerType", "")),
            tactic=str(entry.get("TacticName", "")),
            outputs=tuple(tensor_type(tensor) for tensor in entry.get("Outputs", ())),
            weights=tuple(_weight_types(entry)),
        )
        for entry in entries
    ]


def tensor_type(tensor: Mapping[str, Any]) -> str:
    """Our name of a tensor's type, in either schema."""
    return _named(next((str(tensor[field]) for field in TYPE_FIELDS if tensor.get(field)), ""))


def _weight_types(entry: Mapping[str, Any]) -> Iterator[str]:
    """Weights of a layer of TensorRT's own have a type and a count; constants of a compiled one look like tensors."""
    for field in ("Weights", "Bias"):
        if isinstance(described := entry.get(field), dict) and described.get("Count", 1):
            yield _named(str(described.get("Type", "")))
    yield from (tensor_type(constant) for constant in entry.get("Constants", ()))


def _named(description: str) -> str:
    lower = description.lower()
    if not lower or lower.startswith("n/a"):
        return UNKNOWN
    return next((ours for part, ours in INSPECTOR_TYPES.items() if part in lower), description)
