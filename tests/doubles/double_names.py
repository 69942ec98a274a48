"""What all parts of TensorRT's double share: names that the real one has, enums, the fault that is asked for."""

import enum
import os
from typing import Any

from api_contract import members, names

VERSION = os.environ.get("DOUBLE_VERSION", "11.4.0.106")
MAJOR = int(VERSION.split(".")[0])
KNOWN = names("tensorrt")


def listed_enum(name: str) -> Any:
    """An enum with the members of the list."""
    return enum.IntEnum(name, KNOWN[name]["enum"], module="tensorrt")


BuilderFlag = listed_enum("BuilderFlag")
DataType = listed_enum("DataType")
ExecutionContextAllocationStrategy = listed_enum("ExecutionContextAllocationStrategy")
HardwareCompatibilityLevel = listed_enum("HardwareCompatibilityLevel")
LayerInformationFormat = listed_enum("LayerInformationFormat")
LayerType = listed_enum("LayerType")
MemoryPoolType = listed_enum("MemoryPoolType")
NetworkDefinitionCreationFlag = listed_enum("NetworkDefinitionCreationFlag")
ProfilingVerbosity = listed_enum("ProfilingVerbosity")
TensorIOMode = listed_enum("TensorIOMode")
TensorLocation = listed_enum("TensorLocation")
TYPES = {
    1: DataType.FLOAT,
    10: DataType.HALF,
    16: DataType.BF16,
    7: DataType.INT64,
    9: DataType.BOOL,
    6: DataType.INT32,
    2: DataType.UINT8,
}
"""ONNX type -> TensorRT's."""


def fault() -> str:
    return os.environ.get("DOUBLE_FAULT", "")


class Listed:
    """Classes of the double may only have public attributes that the list gives them; their subclasses may more."""

    def __init_subclass__(cls) -> None:
        if cls.__module__.startswith("double_"):
            cls._allowed = members(KNOWN, cls.__name__)
            public = {name for name in vars(cls) if not name.startswith("_")}
            assert public <= cls._allowed, f"{cls.__name__} lacks {public - cls._allowed}"

    def __setattr__(self, name: str, value: Any) -> None:
        own = type(self).__module__.startswith("double_")
        if own and not name.startswith("_") and name not in self._allowed:
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        object.__setattr__(self, name, value)


class ILogger(Listed):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: int, message: str) -> None: ...
