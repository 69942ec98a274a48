"""What a family tells the exporter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from hyperseg_export.checkpoint.lora import MergedCheckpoint
from hyperseg_export.checkpoint.shards import Tell
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import ModelDefinition, SourceModel
from hyperseg_export.parity.golden import GoldenFolder, GoldenReport
from hyperseg_export.parity.tolerances import Tolerances
from hyperseg_runtime.contracts.requests import Request

RANDOM_SIZES = ("small", "tiny", "full")
"""One layer of everything; what `make-tiny` writes; the published widths."""


Sizes = TypeVar("Sizes")


@dataclass(frozen=True)
class RandomModels(Generic[Sizes]):
    """Models of random weights that are made when asked for: for gates, benchmarks and tests.

    sizes             those of `RANDOM_SIZES` by name
    tiny              what is written in place of sizes["tiny"], which has heads as wide as fused kernels need
    model_of          makes a model, whose weights are made when asked for: nothing has to fit the disk
    write_checkpoint  writes one in the layout of the published one into an empty folder
    notes             name of a size -> what is less than it says
    """

    sizes: Mapping[str, Sizes]
    tiny: Sizes
    model_of: Callable[[Sizes, int], SourceModel]
    write_checkpoint: Callable[[Path, Sizes, int], None]
    notes: Mapping[str, str] = field(default_factory=dict)

    def model(self, size: str, seed: int) -> SourceModel:
        """Of a size of `RANDOM_SIZES`, from a seed."""
        return self.model_of(self.sizes[size], seed)

    def write(self, directory: Path, size: str, seed: int) -> None:
        """The checkpoint of a size of `RANDOM_SIZES`, from a seed."""
        self.write_checkpoint(directory, self.tiny if size == "tiny" else self.sizes[size], seed)


WriteFiles = Callable[[Path, Tell], list[str]]
"""Writes files into a folder, tells tensors done of all, and returns the files' names."""


@dataclass(frozen=True)
class Preset:
    """A checkpoint of random weights at the published size.

    files       seed and layers (None: all) -> name of a step -> what it writes
    size_bytes  of its tensors, for such layers
    layered     whether there is a stack that can have fewer layers: a language model, or a backbone of equal blocks
    """

    name: str
    about: str
    files: Callable[[int, int | None], Mapping[str, WriteFiles]]
    size_bytes: Callable[[int | None], int]
    layered: bool = False


@dataclass(frozen=True)
class QuantizationHints:
    """What a family knows of its graphs that a data set does not tell.

    requests  asked of every calibration picture beside what the data set asks, so that every graph sees real calls
    wide      graph -> recipe, or "" for every recipe -> why the graph stays as it is, unless it is asked for by name
    skip      graph -> regular expression for names of layers -> why they stay as they are
    """

    requests: tuple[Request, ...] = ()
    wide: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    skip: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def reason(self, graph: str, recipe: str) -> str | None:
        """Why a graph stays as it is."""
        reasons = self.wide.get(graph, {})
        return reasons.get(recipe, reasons.get(""))


@dataclass(frozen=True)
class ExportFamily:
    name: str
    tell_tale: str
    """Prefix of tensor names that only this family has."""
    define: Callable[[MergedCheckpoint, int | None], ModelDefinition]
    """From an opened checkpoint, and the cache slots asked for (None: the family's default); raises CheckpointError
    where it cannot be this family's, InputError for cache slots where there is no cache."""
    tolerances: Tolerances
    random: RandomModels[Any]
    quantization: QuantizationHints
    presets: tuple[Preset, ...]
    """At least one."""
    verify_golden: Callable[[GoldenFolder, Progress, Sequence[str]], GoldenReport]
    """Compare modules, graphs or both (`golden.ENGINES`) with a folder of arrays made by the original code."""
