"""What a build can be asked for, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from hyperseg_export.engine.attention import AttentionForm
from hyperseg_export.engine.plugins import PluginForm
from hyperseg_export.engine.profiles import Profile, make_profiles, require_known
from hyperseg_runtime.bundle.manifest import GraphEntry, Manifest
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.contracts.quantization import Scheme
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families import FAMILIES

BYTES_PER_VALUE = {Precision.FP32: 4, Precision.FP16: 2, Precision.BF16: 2}
ALL_GRAPHS = "*"
HOST_BYTES_PER_WEIGHT_BYTE = 3.5
"""Host memory of a build: measured with TensorRT-RTX 1.7.1 on four layers of Phi-2 in fp16 (2.2 GB for 0.63 GB)."""


class BuildOptions(BaseModel):
    """Options of one build; every field is part of an engine's key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = "latency"
    level: int = Field(3, ge=0, le=5)
    workspace_bytes: int | None = Field(None, gt=0)
    version_compatible: bool = False
    hardware_compatible: bool = False
    weight_streaming: bool = False
    refit: bool = False
    stripped: bool = False
    attention: dict[str, AttentionForm] = {}
    """Graph, or ALL_GRAPHS, -> the form asked for; others get the default of release and types."""

    plugins: PluginForm = PluginForm.AHEAD_OF_TIME
    """For graphs with operators of our own."""

    @property
    def portable(self) -> list[str]:
        """Options by which engines run elsewhere too."""
        asked = {"--hardware-compatible": self.hardware_compatible, "--version-compatible": self.version_compatible}
        return [option for option, wanted in asked.items() if wanted]

    def attention_of(self, graph: str) -> AttentionForm | None:
        return self.attention.get(graph, self.attention.get(ALL_GRAPHS))


@dataclass(frozen=True)
class EnginePlan:
    """What will be built of one graph, and a forecast of what it takes."""

    graph: str
    precision: Precision
    profiles: tuple[Profile, ...]
    weight_bytes: int
    scheme: Scheme | None = None
    """How the graph is quantised; None if it is not."""

    @property
    def number_format(self) -> str:
        """For people."""
        return f"{self.scheme} (rest {self.precision})" if self.scheme else str(self.precision)

    @property
    def plan_bytes(self) -> tuple[int, int]:
        """Smallest and largest size: TensorRT may store the weights once or once per profile."""
        return self.weight_bytes, self.weight_bytes * len(self.profiles)

    @property
    def host_bytes(self) -> int:
        """Memory that the build takes on the host."""
        return int(self.weight_bytes * HOST_BYTES_PER_WEIGHT_BYTE)


def plan_engines(manifest: Manifest, graphs: Sequence[str] | None, options: BuildOptions) -> list[EnginePlan]:
    """Plans of the named graphs, or of all. Raises InputError for a graph or a profile preset that does not exist, and
    for quantised graphs that TensorRT has no way for."""
    chosen_graphs(manifest, [name for name in options.attention if name != ALL_GRAPHS])
    _require_buildable([entry for entry in chosen_graphs(manifest, graphs) if entry.rounded], options)
    hints = FAMILIES[manifest.family].profile_hints
    require_known(options.profile, [hints(entry.spec) for entry in manifest.graphs])
    return [
        EnginePlan(
            entry.spec.name,
            entry.precision,
            make_profiles(entry.spec, options.profile, hints(entry.spec)),
            _weight_bytes(manifest, entry),
            entry.rounded.scheme if entry.rounded else None,
        )
        for entry in chosen_graphs(manifest, graphs)
    ]


def _require_buildable(rounded: Sequence[GraphEntry], options: BuildOptions) -> None:
    if rounded and (options.refit or options.stripped):
        raise InputError(
            f"{_names(rounded)}: TensorRT cannot exchange weights that are quantised together with their scales; "
            "leave --refit and --stripped out, or build the graphs that are not quantised with --graph"
        )
    dynamic = [entry for entry in rounded if entry.rounded and entry.rounded.scheme is Scheme.INT8_DYNAMIC]
    if dynamic:
        raise InputError(
            f"{_names(dynamic)}: TensorRT has no operators for activations that each call rounds anew "
            f"({Scheme.INT8_DYNAMIC}); quantise with the recipe int8, or build the other graphs with --graph"
        )


def _names(entries: Sequence[GraphEntry]) -> str:
    return ", ".join(entry.spec.name for entry in entries)


def _weight_bytes(manifest: Manifest, entry: GraphEntry) -> int:
    """Of the weights as they are stored: a quantised graph has files of its own."""
    if entry.rounded is None:
        return entry.parameters * BYTES_PER_VALUE[entry.precision]
    return sum(manifest.files[name].size_bytes for name in entry.data_files)


def chosen_graphs(manifest: Manifest, names: Sequence[str] | None) -> list[GraphEntry]:
    """The named graphs, or all. Raises InputError for one that the bundle lacks."""
    entries = {entry.spec.name: entry for entry in manifest.graphs}
    for name in names or ():
        if name not in entries:
            raise InputError(f"the bundle has no graph {name}; it has {', '.join(entries)}")
    return [entries[name] for name in names or entries]
