"""Stands for TensorRT on a machine without a GPU: builder, parser, inspector, and execution by ONNX Runtime.

No public name exists here that the list of TensorRT 11.4's names lacks. Its rules are the real ones as far as our
code depends on them: float32 attention needs to be decomposable, profiles lie within a network's shapes, a call
needs shapes within the active profile, the address of every tensor and one address for a cache and its update,
recording needs a call of the same shapes before; what fails gives None or False and the reason goes to the logger.
DOUBLE_FAULT in the environment asks for a failure.
"""

# ruff: noqa: F401

from typing import Any

from double_builder import (
    Builder,
    IAttention,
    IAttentionInputLayer,
    IBuilderConfig,
    ILayer,
    INetworkDefinition,
    IOptimizationProfile,
    IProgressMonitor,
    ITensor,
    ITimingCache,
    OnnxParser,
    ParserError,
)
from double_inspector import EngineInspector
from double_names import KNOWN as _KNOWN
from double_names import VERSION as _VERSION
from double_names import (
    BuilderFlag,
    DataType,
    ExecutionContextAllocationStrategy,
    HardwareCompatibilityLevel,
    ILogger,
    LayerInformationFormat,
    LayerType,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    TensorIOMode,
    TensorLocation,
)
from double_names import listed_enum as _listed_enum
from double_runtime import (
    ICudaEngine,
    IExecutionContext,
    IPluginRegistry,
    OnnxParserRefitter,
    Refitter,
    Runtime,
    Weights,
    get_plugin_registry,
)

__version__ = _VERSION


def __getattr__(name: str) -> Any:
    """Enums that the double itself does not use."""
    if name in _KNOWN and "enum" in (_KNOWN[name] or {}):
        return _listed_enum(name)
    raise AttributeError(f"the double of TensorRT has no {name}")
