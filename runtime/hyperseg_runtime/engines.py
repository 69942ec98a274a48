"""Engines of a bundle: one folder per target, so that one bundle serves several GPUs.

engines/sm90-trt11.4/engines.json     what is there, and which ONNX files it was made from
engines/sm90-trt11.4/GRAPH.plan
"""

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hyperseg_runtime.bundle import Bundle, describe_file
from hyperseg_runtime.errors import BundleError
from hyperseg_runtime.manifest import FileEntry, ParityEntry
from hyperseg_runtime.precision import Precision
from hyperseg_runtime.tensorrt_versions import parse_version

ENGINES = "engines"
FILE_NAME = "engines.json"
ENGINE_FORMAT: Final = 1


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(_Entry):
    """What an engine is bound to."""

    gpu: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    driver_cuda: str
    tensorrt: str

    @property
    def target(self) -> str:
        major, minor = parse_version(self.tensorrt)
        return f"sm{self.compute_capability[0]}{self.compute_capability[1]}-trt{major}.{minor}"


class EngineEntry(_Entry):
    """One engine, as it was read back after the build."""

    graph: str
    key: str
    """Hash of everything the engine was made from: ONNX files, contract, options, target."""
    file: FileEntry
    precision: Precision
    profiles: tuple[str, ...]
    layer_types: dict[str, int]
    """Output type -> number of layers, from TensorRT's inspector."""
    decomposed_attention: int
    plugin_layers: int
    build_seconds: float = Field(ge=0)
    parity: tuple[ParityEntry, ...] | None = None
    """None means not measured, which is not a pass."""


class EngineManifest(_Entry):
    format_version: Literal[1] = ENGINE_FORMAT
    machine: Machine
    engines: tuple[EngineEntry, ...] = ()

    def engine(self, graph: str) -> EngineEntry | None:
        return next((entry for entry in self.engines if entry.graph == graph), None)

    def to_bytes(self) -> bytes:
        return (self.model_dump_json(indent=1) + "\n").encode()


def engine_folder(bundle: Path, target: str) -> Path:
    return bundle / ENGINES / target


def read_engines(folder: Path) -> EngineManifest | None:
    """What `folder` holds; None if there is no such folder. Raises BundleError for a damaged file."""
    path = folder / FILE_NAME
    try:
        return EngineManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path}: not a list of engines ({error}); delete the folder and build again") from error


def engine_path(folder: Path, entry: EngineEntry) -> Path:
    """The plan of an engine. Raises BundleError unless it is the file that was built."""
    path = folder / f"{entry.graph}.plan"
    if not path.is_file() or path.is_symlink() or describe_file(path) != entry.file:
        raise BundleError(f"{path}: missing or changed since it was built; build it again")
    return path


def source_hashes(bundle: Bundle, graph: str) -> list[str]:
    """Hashes of the ONNX file of a graph and of its data files."""
    entry = bundle.manifest.graph(graph)
    return [bundle.manifest.files[name].sha256 for name in (entry.file, *entry.data_files)]
