"""Engines of a bundle: one folder per target, so that one bundle serves several GPUs.

engines/sm90-trt11.4-nvidia-h200/engines.json     what is there, and which ONNX files it was made from
engines/sm90-trt11.4-nvidia-h200/GRAPH.plan
engines/sm90-trt11.4-nvidia-h200/plugins/NAME.so  libraries of plugins that engines need, where any does
"""

import hashlib
import re
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hyperseg_runtime.bundle.manifest import FileEntry, Manifest, ParityEntry
from hyperseg_runtime.bundle.opening import describe_file
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.contracts.tensorrt_versions import parse_version
from hyperseg_runtime.errors import BundleError

ENGINES = "engines"
FILE_NAME = "engines.json"
PLUGINS = "plugins"
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
        """Two models of one architecture differ in memory and multiprocessors: each gets engines of its own."""
        major, minor = parse_version(self.tensorrt)
        words = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-")
        return f"sm{self.compute_capability[0]}{self.compute_capability[1]}-trt{major}.{minor}-{words}"

    def fits(self, other: "Machine") -> bool:
        """Whether engines of the one run on the other; the driver may have been renewed."""
        return (self.target, self.tensorrt) == (other.target, other.tensorrt)


class EngineEntry(_Entry):
    """One engine, as it was read back after the build."""

    graph: str
    key: str
    """Hash of everything the engine was made from: ONNX files, contract, options, target."""
    sources: dict[str, str]
    """Files of the bundle that it was made from -> their sha256."""
    file: FileEntry
    precision: Precision
    version_compatible: bool
    hardware_compatible: bool
    weight_streaming: bool
    stripped: bool
    """It has no weights; they come from the ONNX file when it is opened."""
    profiles: tuple[str, ...]
    layer_types: dict[str, int]
    """Output type -> number of layers, from TensorRT's inspector."""
    decomposed_attention: int
    """Attention layers that are known to have no fused kernel."""
    attention: Literal["fused", "decomposed", "written-out"] | None = None
    """The form it was built with; None where the graph has no attention."""
    attention_layers: int = 0
    fused_attention: dict[str, int] = {}
    """Profile -> fused kernels that TensorRT's inspector shows in it."""
    plugins: Literal["ahead-of-time", "library", "body"] | None = None
    """How operators of our own run; None where the graph has none."""
    plugin_layers: int
    rounded_weights: int = 0
    """Weights in the types of quantised graphs that TensorRT's inspector shows."""
    libraries: dict[str, FileEntry] = {}
    """Libraries of plugins that it needs, by their names in the folder PLUGINS beside it."""
    build_seconds: float = Field(ge=0)
    parity: tuple[ParityEntry, ...] | None = None
    """Against the ONNX graph, on the machine that built it. None means not measured, which is not a pass."""

    def changed_files(self, manifest: Manifest) -> set[str]:
        """Files of the graph that are not those the engine was made from."""
        now = source_hashes(manifest, self.graph)
        return {name for name in now.keys() | self.sources.keys() if now.get(name) != self.sources.get(name)}


class EngineManifest(_Entry):
    format_version: Literal[1] = ENGINE_FORMAT
    machine: Machine
    engines: tuple[EngineEntry, ...] = ()

    def engine(self, graph: str) -> EngineEntry | None:
        return next((entry for entry in self.engines if entry.graph == graph), None)

    def seen_from(self, machine: Machine) -> Self:
        """What of it runs on another machine. There nothing was compared."""
        same_gpu = self.machine.compute_capability == machine.compute_capability
        same_release = self.machine.tensorrt == machine.tensorrt
        runs = (
            entry.model_copy(update={"parity": None})
            for entry in self.engines
            if (same_gpu or entry.hardware_compatible) and (same_release or entry.version_compatible)
        )
        return self.model_copy(update={"engines": tuple(runs)})

    def usable(self, graph: str, accept_unmeasured: bool = False) -> EngineEntry:
        """The engine of a graph. Raises BundleError if there is none or its parity says nothing good."""
        entry = self.engine(graph)
        if entry is None:
            built = ", ".join(entry.graph for entry in self.engines) or "none"
            raise BundleError(
                f"graph {graph} has no engine of {self.machine.target} that runs here (engines: {built}); "
                "run: hyperseg-trt build BUNDLE"
            )
        if entry.parity is None and not accept_unmeasured:
            raise BundleError(
                f"the engine of graph {graph} was never compared with the ONNX graph (parity not measured); run: "
                "hyperseg-trt build BUNDLE, or accept it as it is with --accept-unmeasured"
            )
        if not all(row.passed for row in entry.parity or ()):
            raise BundleError(
                f"the engine of graph {graph} differs from the ONNX graph (parity failed); build it again"
            )
        return entry

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
        message = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise BundleError(f"{path}: not a list of engines ({message}); delete the folder and build again") from error


def engines_digest(bundle: Path, target: str | None = None) -> str:
    """SHA-256 over the engines for `target`: another one after every build. Without it over those for all targets, of
    which each machine takes its own.

    Raises BundleError for a damaged list.
    """
    digest = hashlib.sha256()
    for folder in [engine_folder(bundle, target)] if target else sorted((bundle / ENGINES).glob("*/")):
        found = read_engines(folder)
        for entry in found.engines if found else ():
            built = entry.model_dump_json(include={"graph", "file", "libraries"})
            digest.update(f"{folder.name} {built}\n".encode())
    return digest.hexdigest()


def engine_path(folder: Path, entry: EngineEntry) -> Path:
    """The plan of an engine. Raises BundleError unless it is the file that was built."""
    path = folder / f"{entry.graph}.plan"
    if not path.is_file() or path.is_symlink() or describe_file(path) != entry.file:
        raise BundleError(f"{path}: missing or changed since it was built; build it again")
    return path


def plugin_libraries(folder: Path, entry: EngineEntry) -> list[Path]:
    """What has to be loaded before the engine is read. Raises BundleError unless these are the files it was built with:
    they are code, and run with the rights of this process.
    """
    found = []
    for name, content in entry.libraries.items():
        path = folder / PLUGINS / name
        if Path(name).name != name or not path.is_file() or path.is_symlink() or describe_file(path) != content:
            raise BundleError(f"{path}: missing or changed since it was built; build the engine again")
        found.append(path)
    return found


def source_hashes(manifest: Manifest, graph: str) -> dict[str, str]:
    """ONNX file and data files of a graph -> sha256."""
    entry = manifest.graph(graph)
    return {name: manifest.files[name].sha256 for name in (entry.file, *entry.data_files)}


def find_engines(bundle: Path, machine: Machine, target: str | None = None) -> tuple[Path, EngineManifest]:
    """Folder and list of the engines for `machine`, or of those for another `target` that run on it too.

    Raises BundleError where the bundle has none.
    """
    folder = engine_folder(bundle, target or machine.target)
    found = read_engines(folder)
    if found is None:
        others = ", ".join(sorted(path.name for path in (bundle / ENGINES).glob("*") if path.is_dir())) or "none"
        raise BundleError(
            f"bundle {bundle} has no engines for {target or f'this machine, {machine.target}'} (it has: {others}).\n"
            "Engines run on the GPU model and TensorRT release they were built with; run: hyperseg-trt build BUNDLE"
        )
    if target not in (None, machine.target):
        return folder, found.seen_from(machine)
    if not found.machine.fits(machine):
        raise BundleError(
            f"{folder}: built with TensorRT {found.machine.tensorrt} for {found.machine.gpu}, this machine has "
            f"TensorRT {machine.tensorrt} and {machine.gpu}; run: hyperseg-trt build BUNDLE"
        )
    return folder, found
