"""Reading an engine back: is it what was planned? TensorRT's worst failures are silent."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperseg_runtime.backends.tensorrt.engine import contract_problems
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import AuditError

INSPECTOR_TYPES = {
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp8": "float8",
    "fp4": "float4",
    "int8": "int8",
    "int4": "int4",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
    "fp32": "float32",
    "float": "float32",
}
"""What the inspector's type descriptions contain -> our name; the first that fits counts."""
NUMBER_FORMATS = frozenset({"float32", "float16", "bfloat16", "float8", "float4", "int8", "int4"})
"""Types in which a network computes; the rest are indices and truth values."""


@dataclass(frozen=True)
class Audit:
    layer_types: dict[str, int]
    plugin_layers: int


def audit_engine(trt: Any, engine: Any, spec: GraphSpec, precision: Precision, profile_count: int) -> Audit:
    """Raise AuditError, with all that differs, unless the engine is what was planned."""
    inspector = engine.create_engine_inspector()
    layers = read_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    types = Counter(kind for entry in layers for kind in output_types(entry))
    problems = [*contract_problems(trt, engine, spec), *judge_types(types, precision)]
    if engine.num_optimization_profiles != profile_count:
        problems.append(f"it has {engine.num_optimization_profiles} profiles, planned were {profile_count}")
    if problems:
        raise AuditError(f"the engine of graph {spec.name} is not what was planned:\n  " + "\n  ".join(problems))
    return Audit(
        dict(sorted(types.items())), sum("plugin" in str(entry.get("LayerType", "")).lower() for entry in layers)
    )


def read_layers(inspector_json: str) -> list[dict[str, Any]]:
    """Layers of the inspector's report. Raises AuditError where it tells names only or is no report."""
    try:
        layers = json.loads(inspector_json)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError(f"TensorRT's engine inspector gave no readable report: {error!r}") from error
    if not layers or not all(isinstance(entry, dict) for entry in layers):
        raise AuditError("TensorRT's engine inspector tells no types; the engine needs detailed profiling verbosity")
    return list(layers)


def output_types(entry: Mapping[str, Any]) -> list[str]:
    """Our names of the types that a layer of the report puts out."""
    described = [str(output.get("Format/Datatype", output.get("DataType", ""))) for output in entry.get("Outputs", ())]
    return [
        next((ours for part, ours in INSPECTOR_TYPES.items() if part in text.lower()), text or "unknown")
        for text in described
    ]


def judge_types(types: Mapping[str, int], precision: Precision) -> list[str]:
    """What is wrong with a histogram of output types. Islands are float32 in every plan."""
    planned = str(precision.dtype)
    foreign = (NUMBER_FORMATS & types.keys()) - {planned, str(DType.FLOAT32)}
    problems = [
        f"{types[kind]} layers compute in {kind}, planned were {planned} and float32" for kind in sorted(foreign)
    ]
    if not types.get(planned):
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(types.items())) or "none"
        problems.append(f"no layer computes in {planned}; found: {found}")
    return problems
