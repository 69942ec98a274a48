"""Which names of TensorRT and CUDA a source uses, and which of them lists of the real modules' names lack."""

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

MODULE = "trt"
"""What our sources call the library, wherever it comes from."""

VARIABLES = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "ranges": "IOptimizationProfile",
    "layer": "ILayer",
    "attention_input": "IAttentionInputLayer",
    "attention": "IAttention",
    "query": "ITensor",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "refitter": "Refitter",
    "onnx_refitter": "OnnxParserRefitter",
}
"""What our sources call objects of the library."""

ALWAYS = {"__version__", "__init__", "__class__"}


def names(library: str) -> dict[str, Any]:
    """Public names of one library ("tensorrt", "tensorrt_rtx"), each with its members and enum values."""
    content = json.loads((Path(__file__).parent / "tensorrt_api_names.json").read_text())
    found: dict[str, Any] = next(value for key, value in content.items() if key.split()[0] == library)
    return found


def unknown_names(source: str, known: dict[str, Any]) -> Iterator[str]:
    """Uses in `source` that `known` lacks: `trt.Name`, `trt.Name.member` and members of `VARIABLES`.

    Arguments given by name count as unknown: bindings rename them between releases.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.keywords:
            called = node.func.value
            if isinstance(called, ast.Name) and called.id in {MODULE, *VARIABLES}:
                yield f"line {node.lineno}: {node.func.attr} with arguments by name; pass them by position"
        if not isinstance(node, ast.Attribute) or node.attr in ALWAYS:
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id == MODULE and node.attr not in known:
            yield f"line {node.lineno}: {MODULE}.{node.attr}"
        elif (
            isinstance(owner, ast.Name)
            and owner.id in VARIABLES
            and node.attr not in members(known, VARIABLES[owner.id])
        ):
            yield f"line {node.lineno}: {VARIABLES[owner.id]}.{node.attr}"
        elif (
            isinstance(owner, ast.Attribute)
            and isinstance(owner.value, ast.Name)
            and owner.value.id == MODULE
            and node.attr not in members(known, owner.attr)
        ):
            yield f"line {node.lineno}: {MODULE}.{owner.attr}.{node.attr}"


def wrong_arguments(source: str) -> Iterator[str]:
    """Calls of TensorRT in `source` with a number of arguments that no overload takes."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner, name = node.func.value, node.func.attr
        if not isinstance(owner, ast.Name) or any(isinstance(argument, ast.Starred) for argument in node.args):
            continue
        called = (name, "__init__") if owner.id == MODULE else (VARIABLES.get(owner.id, ""), name)
        if not takes(*called, len(node.args)):
            yield f"line {node.lineno}: {'.'.join(called)} with {len(node.args)} arguments"


def takes(owner: str, method: str, count: int) -> bool:
    """Whether an overload of TensorRT's method takes so many; true of what the list does not have."""
    overloads = tensorrt_arguments().get(owner, {}).get(method)
    if overloads is None:
        return True
    return any(sum(not a.endswith("=") for a in overload) <= count <= len(overload) for overload in overloads)


@cache
def tensorrt_arguments() -> dict[str, dict[str, list[list[str]]]]:
    """Class -> method -> its overloads, each a list of arguments; those with a default end with =."""
    content = json.loads((Path(__file__).parent / "tensorrt_api_arguments.json").read_text())
    found: dict[str, dict[str, list[list[str]]]] = next(iter(content.values()))
    return found


def unknown_cuda(source: str, known: dict[str, Any]) -> Iterator[str]:
    """Uses of `cudart.name` in `source` that cuda-python lacks: names, members of enums, numbers of arguments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (name := _cuda_name(node.func)) and isinstance(known.get(name), list):
            wanted, found = len(known[name]), len(node.args)
            if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args) or found != wanted:
                yield f"line {node.lineno}: {name} takes {wanted} arguments by position"
        if (name := _cuda_name(node)) and name not in known:
            yield f"line {node.lineno}: cudart.{name}"
        if isinstance(node, ast.Attribute) and (owner := _cuda_name(node.value)) and node.attr not in known[owner]:
            yield f"line {node.lineno}: cudart.{owner}.{node.attr}"


def _cuda_name(node: ast.AST) -> str | None:
    """X of `cudart.X`, `self.cudart.X`, `self._cudart.X`."""
    owner = node.value if isinstance(node, ast.Attribute) else None
    called = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return node.attr if isinstance(node, ast.Attribute) and called.lstrip("_") == "cudart" else None


def cuda_names() -> dict[str, Any]:
    """Names of cuda-python's runtime API: functions with their arguments, enums with their members, numbers."""
    content = json.loads((Path(__file__).parent / "cuda_api_names.json").read_text())
    found: dict[str, Any] = next(iter(content.values()))
    return found


def members(known: dict[str, Any], name: str) -> set[str]:
    entry = known.get(name) or {}
    return {*entry.get("members", ()), *entry.get("enum", ())}
