"""What the served models are told: parameters of their configurations, and variables of the environment."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hyperseg_runtime.contracts.graph_spec import GraphSpec

Parameters = Mapping[str, str]

FAMILY, CONTRACT, BACKEND, IMAGE_GRAPHS, GRAPH = "family", "contract", "backend", "image_graphs", "graph"
"""Names of parameters in the models' configurations, beside those of `Limits`."""
UNMEASURED = "unmeasured"
"""Graphs, separated by commas, whose engines run although they were never compared with them: said so by name."""
UNGATED = "ungated"
"""Quantised graphs that are served although they passed no task metric: said so by name."""
IN_PROCESS, SERVED = "in-process", "served"
"""Values of IMAGE_GRAPHS: the public model runs them itself, or asks the stage models."""

BUNDLE_VARIABLE = "HYPERSEG_BUNDLE"
"""Where the bundle lies on the machine that serves; the generated files name no path."""
BACKEND_VARIABLE = "HYPERSEG_BACKEND"
"""Another backend than the configuration's for the graphs that the Python models run themselves."""
THREADS_VARIABLE = "HYPERSEG_THREADS"
"""CPU threads of one graph; default: all cores."""
OPERATORS_VARIABLE = "HYPERSEG_OPERATORS"
"""Libraries of our native operators for ONNX Runtime, separated like a path; default: none."""
IDENTITY_VARIABLE = "HYPERSEG_IDENTITY"
"""What a started server says of itself to a probe, so that whoever started it knows it from any other."""
DRAIN_VARIABLE = "HYPERSEG_DRAIN_FILE"
"""A file: once it exists, new requests are refused and those under way are answered."""


def identity() -> str:
    return os.environ.get(IDENTITY_VARIABLE, "")


def unmeasured(parameters: Parameters) -> list[str]:
    """Graphs whose engines run although they were never compared with them."""
    return _listed(parameters, UNMEASURED)


def ungated(parameters: Parameters) -> list[str]:
    """Quantised graphs that run although they passed no task metric."""
    return _listed(parameters, UNGATED)


def _listed(parameters: Parameters, name: str) -> list[str]:
    return [graph for graph in parameters.get(name, "").split(",") if graph]


def draining() -> bool:
    """Whether this server is about to stop."""
    file = os.environ.get(DRAIN_VARIABLE)
    return bool(file) and Path(str(file)).exists()


def model_parameters(arguments: Mapping[str, str]) -> dict[str, str]:
    """Parameters out of what the server initializes a Python model with."""
    config = json.loads(arguments["model_config"])
    return {name: entry["string_value"] for name, entry in config["parameters"].items()}


def contract_id(graphs: Sequence[GraphSpec]) -> str:
    """Equal for bundles that one repository fits."""
    digest = hashlib.sha256()
    for graph in graphs:
        digest.update(graph.model_dump_json().encode() + b"\0")
    return digest.hexdigest()[:16]
