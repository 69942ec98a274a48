"""What a family tells the exporter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperseg_export.checkpoint.lora import MergedCheckpoint
from hyperseg_export.checkpoint.shards import Tell
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import ModelDefinition, SourceModel
from hyperseg_export.parity.golden import GoldenFolder, GoldenReport
from hyperseg_export.parity.tolerances import Tolerances
from hyperseg_runtime.contracts.requests import Request

RANDOM_SIZES = ("small", "tiny", "full")
"""One layer of everything; what `make-tiny` writes; the published widths."""


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
    write_random: Callable[[Path, str, int], None]
    """Write a random checkpoint, in the layout of the published one, into an empty folder: of a size, from a seed."""
    random_model: Callable[[str, int], SourceModel]
    """Of a size of `RANDOM_SIZES`, from a seed; weights are made when asked for, so nothing has to fit the disk."""
    size_notes: Mapping[str, str]
    """Size -> what is less than it says."""
    quantization: QuantizationHints
    presets: tuple[Preset, ...]
    """At least one."""
    verify_golden: Callable[[GoldenFolder, Progress], GoldenReport]
    """Compare modules and graphs with a folder of arrays made by the original code."""
