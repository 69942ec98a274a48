"""Reading an engine back: is it what was planned? TensorRT's worst failures are silent."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from hyperseg_export.engine.attention import fused_layers
from hyperseg_export.engine.inspector import UNKNOWN, Layer, inspect_layers
from hyperseg_runtime.backends.tensorrt.engine import contract_problems
from hyperseg_runtime.bundle.quantization import RoundedEntry
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import AuditError

FLOAT8 = "float8"
NUMBER_FORMATS = frozenset({"float32", "float16", "bfloat16", FLOAT8, "float4", "int8", "uint8", "int4"})
"""Types in which a network computes; the rest are indices and truth values."""


@dataclass(frozen=True)
class Audit:
    layer_types: dict[str, int]
    """Output type -> number of outputs; "unknown" where TensorRT does not tell."""
    plugin_layers: int
    rounded_weights: int
    """Weights in the type of a quantised graph's layers, as far as TensorRT tells."""
    fused_attention: tuple[int, ...]
    """Of each profile."""


def audit_engine(
    trt: Any,
    engine: Any,
    spec: GraphSpec,
    precision: Precision,
    profile_count: int,
    plugin_count: int,
    rounded: RoundedEntry | None = None,
) -> Audit:
    """Raise AuditError, with all that differs, unless the engine is what was planned."""
    profiles = inspect_layers(trt, engine)
    layers = list(dict.fromkeys(chain.from_iterable(profiles)))
    carried = {str(tensor.dtype) for tensor in (*spec.inputs, *spec.outputs)}
    problems = [*contract_problems(trt, engine, spec), *judge_types(layers, precision, carried, rounded)]
    if engine.num_optimization_profiles != profile_count:
        problems.append(f"it has {engine.num_optimization_profiles} profiles, planned were {profile_count}")
    plugins = max(map(plugin_layers, profiles), key=lambda count: abs(count - plugin_count))
    if plugins != plugin_count:
        problems.append(
            f"it has {plugins} plugin layers, planned were {plugin_count} (one for each node of our operators; build "
            f"--graph {spec.name} --no-plugins takes their bodies)"
        )
    if problems:
        raise AuditError(f"the engine of graph {spec.name} is not what was planned:\n  " + "\n  ".join(problems))
    types = Counter(kind for layer in layers for kind in layer.outputs)
    held = [kind for layer in layers for kind in layer.weights if rounded and kind == type_of(rounded)]
    return Audit(dict(sorted(types.items())), plugins, len(held), tuple(map(fused_layers, profiles)))


def type_of(rounded: RoundedEntry) -> str:
    """What the inspector calls the type of rounded weights: it tells one kind of float8 from no other."""
    return FLOAT8 if rounded.scheme.dtype is DType.FLOAT8 else str(rounded.scheme.dtype)


def plugin_layers(layers: Sequence[Layer]) -> int:
    """How many layers of a profile are plugins."""
    return sum("plugin" in layer.kind.lower() for layer in layers)


def judge_types(
    layers: Sequence[Layer], precision: Precision, carried: Collection[str] = (), rounded: RoundedEntry | None = None
) -> list[str]:
    """What is wrong with the types that layers put out and hold. Islands are float32 in every plan, and the graph's
    own inputs and outputs are as its contract has them (`carried`). Of a quantised graph some layers have its type.

    A type that TensorRT does not tell is no evidence: what is known decides, and where some is unknown the planned
    type may be there unseen.
    """
    planned = str(precision.dtype)
    outputs = Counter(kind for layer in layers for kind in layer.outputs)
    weights = Counter(kind for layer in layers for kind in layer.weights)
    low = type_of(rounded) if rounded else planned
    allowed = {planned, low, str(DType.FLOAT32), *carried}
    problems = [
        f"{found[kind]} {what} {kind}, planned were {planned} and float32"
        for what, found in (("layers compute in", outputs), ("weights are", weights))
        for kind in sorted((NUMBER_FORMATS & found.keys()) - allowed)
    ]
    for kind in dict.fromkeys((planned, low)):
        if not (outputs[kind] or weights[kind] or outputs[UNKNOWN]):
            found = ", ".join(f"{count} {kind}" for kind, count in sorted(outputs.items())) or "none"
            problems.append(f"no layer computes in {kind}; found: {found}")
    return problems
