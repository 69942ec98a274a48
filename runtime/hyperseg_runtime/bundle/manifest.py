"""manifest.json: what a bundle holds and what is known about it. The schema is the class definitions."""

import json
import math
import re
from collections.abc import Collection
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hyperseg_runtime.bundle.quantization import PASSED, QuantizationEntry, RoundedEntry, require_gated
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import BundleError

Measure = Literal["error / range", "cosine distance", "1 - mask IoU", "decision regret"]
FORMAT_VERSION: Final = 1
FILE_NAME = "manifest.json"
LAYER_NUMBER = re.compile(r"\.\d+\.")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Entry):
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class GraphEntry(_Entry):
    """One graph: its contract, its ONNX file, the data files that file reads from."""

    spec: GraphSpec
    file: str
    data_files: tuple[str, ...]
    precision: Precision
    parameters: int = Field(ge=0)
    rounded: RoundedEntry | None = None
    """None: no layer is quantised. What is not, computes in `precision`."""

    @property
    def number_format(self) -> str:
        """For people: "fp32", or "int8 (rest fp32)"."""
        return f"{self.rounded.scheme} (rest {self.precision})" if self.rounded else str(self.precision)


class Provenance(_Entry):
    """Where the bundle came from. `checkpoint_sha256` is the checkpoint's fingerprint."""

    checkpoint_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    adapter_sha256: str | None
    versions: dict[str, str]
    created_utc: str


class Coverage(_Entry):
    """Account of the checkpoint's bytes; `unused` gives the reason."""

    tensors: int
    loaded_bytes: int
    checked_bytes: int
    unused_bytes: dict[str, int]


class ParityEntry(_Entry):
    """Worst difference of one output between a float32 reference and what was made of it.

    Float32 graphs are judged by the largest difference relative to the output's range, others by cosine distance.
    Mask logits are also judged by 1 - IoU of the masks, and logits that are chosen from by what the choice loses.
    `engine` ran the graph; graphs that no engine of the exporting machine can run are torch modules in the same
    types. The reference of "tensorrt" is the ONNX file in ONNX Runtime, of the others the module. Of an output with
    something for every mask query, so many queries as are `undecided` were left out: rounding decides about them.
    `steep` numbers follow their inputs so closely that rounding, measured in this very call, moves them by more than
    the usual tolerance: theirs is wider.
    """

    graph: str
    output: str
    measure: Measure = "error / range"
    engine: Literal["onnxruntime", "torch", "tensorrt"] = "onnxruntime"
    worst_error: float = Field(ge=0)
    tolerance: float = Field(gt=0)
    undecided: int = Field(default=0, ge=0)
    steep: bool = False
    passed: bool

    def what(self) -> str:
        """The measure, what it leaves out, and whether more than usual is allowed."""
        left_out = f"undecided queries: {self.undecided}" if self.undecided else ""
        return ", ".join(filter(None, (self.measure, left_out, "wider tolerance: steep numbers" if self.steep else "")))


class AdapterFactor(_Entry):
    """One initializer of an adapter's data file: float32 rows, from byte `offset`."""

    name: str
    shape: tuple[int, int]
    offset: int = Field(ge=0)

    @property
    def size_bytes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]

    @property
    def end(self) -> int:
        return self.offset + self.size_bytes


class AdapterSlot(_Entry):
    """Room for the adapter of one published weight (outputs, inputs), which adds (x down) up to x's projection.

    Columns `ranks` of `down` (inputs, all ranks) hold A transposed, rows `ranks` and columns `outputs` of `up`
    (all ranks, all outputs) hold B transposed times the adapter's scale; several slots may share a pair. `rank`
    of the ranks are in use, the others are zero.
    """

    weight: str
    down: str
    up: str
    ranks: tuple[int, int]
    outputs: tuple[int, int]
    rank: int

    @property
    def capacity(self) -> int:
        return self.ranks[1] - self.ranks[0]


class AdapterEntry(_Entry):
    """A LoRA adapter (`provenance.adapter_sha256`) kept apart from the weights of one graph.

    `file` holds its factors and nothing else. Factor names are those of initializers of the graph, and so of
    the weights to refit in an engine built from it.
    """

    graph: str
    file: str
    factors: tuple[AdapterFactor, ...] = Field(min_length=1)
    slots: tuple[AdapterSlot, ...]

    @model_validator(mode="after")
    def _slots_fit(self) -> Self:
        shapes = {factor.name: factor.shape for factor in self.factors}
        if len(shapes) < len(self.factors) or len({slot.weight for slot in self.slots}) < len(self.slots):
            raise ValueError("a factor or a slot is listed twice")
        if any(min(shape) < 1 for shape in shapes.values()):
            raise ValueError("a factor is empty")
        if any(after.offset < before.end for before, after in pairwise(self.factors)):
            raise ValueError("two factors overlap, or are not in the order of the file")
        taken: dict[str, int] = {}
        for slot in self.slots:
            if slot.down not in shapes or slot.up not in shapes:
                raise ValueError(f"the slot of {slot.weight} needs {slot.down} and {slot.up}, which are no factors")
            (_, ranks), (rows, outputs) = shapes[slot.down], shapes[slot.up]
            inside = 0 <= slot.rank <= slot.capacity and 0 <= slot.outputs[0] < slot.outputs[1] <= outputs
            if not inside or not taken.get(slot.down, 0) <= slot.ranks[0] < slot.ranks[1] <= ranks == rows:
                raise ValueError(f"the slot of {slot.weight} does not fit its factors")
            taken[slot.down] = slot.ranks[1]
        return self


def kind_of(weight: str) -> str:
    """A weight's name with {i} in place of its layer, the first number in it."""
    return LAYER_NUMBER.sub(".{i}.", weight, count=1)


class Manifest(_Entry):
    format_version: Literal[1]
    family: str
    dimensions: dict[str, Any]
    graphs: tuple[GraphEntry, ...]
    files: dict[str, FileEntry]
    coverage: Coverage
    provenance: Provenance
    parity: tuple[ParityEntry, ...] | None
    """None means not measured, which is not a pass."""
    adapter: AdapterEntry | None = None
    """None: there is no adapter, or it is merged into the weights."""
    quantization: QuantizationEntry | None = None
    """None: no graph is quantised."""

    @model_validator(mode="after")
    def _files_exist(self) -> Self:
        for path in self.files:
            _check_path(path)
        for graph in self.graphs:
            for path in (graph.file, *graph.data_files):
                if path not in self.files:
                    raise ValueError(f"graph {graph.spec.name} needs {path}, which is not listed in files")
        names = [graph.spec.name for graph in self.graphs]
        if len(set(names)) != len(names):
            raise ValueError("a graph is listed twice")
        return self

    @model_validator(mode="after")
    def _adapter_lies_in_its_file(self) -> Self:
        if self.adapter is None:
            return self
        file = self.adapter.file
        graph = next((graph for graph in self.graphs if graph.spec.name == self.adapter.graph), None)
        if graph is None or file not in graph.data_files:
            raise ValueError(f"the adapter lies in {file}, which graph {self.adapter.graph} does not read")
        if self.adapter.factors[-1].end != self.files[file].size_bytes:
            raise ValueError(f"the adapter's factors end at byte {self.adapter.factors[-1].end}, {file} does not")
        return self

    @model_validator(mode="after")
    def _rounded_graphs_are_accounted_for(self) -> Self:
        if (self.quantization is not None) != bool(self.rounded_graphs()):
            raise ValueError("quantised graphs and what is said of the quantisation do not belong together")
        return self

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files.values())

    def rounded_graphs(self, among: Collection[str] | None = None) -> list[str]:
        """Names of quantised graphs, of all or of some."""
        names = [graph.spec.name for graph in self.graphs if graph.rounded]
        return [name for name in names if among is None or name in among]

    @property
    def is_gated(self) -> bool:
        """Whether there are no quantised graphs, or they passed a task metric."""
        return self.quantization is None or self.quantization.verdict == PASSED

    def require_gated(self, accepted: Collection[str] = (), among: Collection[str] | None = None) -> None:
        """Raise BundleError where quantised graphs did not pass a task metric and are not in `accepted`."""
        require_gated(self.quantization, self.rounded_graphs(among), accepted)

    def graph(self, name: str) -> GraphEntry:
        for entry in self.graphs:
            if entry.spec.name == name:
                return entry
        available = ", ".join(entry.spec.name for entry in self.graphs)
        raise BundleError(f"the bundle has no graph {name}; it has {available}")

    def to_bytes(self) -> bytes:
        return (self.model_dump_json(indent=1) + "\n").encode()


def parse_manifest(data: bytes) -> Manifest:
    """Validated manifest. Raises BundleError for anything else, with the first problems named."""
    try:
        content = json.loads(
            data, parse_constant=_refuse_number, parse_float=_finite_float, object_pairs_hook=_unique_keys
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{FILE_NAME} is not valid JSON: {error}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise BundleError(
            f"{FILE_NAME} has format version {version}, this program reads {FORMAT_VERSION}; "
            "upgrade hyperseg-trt or export the bundle again"
        )
    try:
        return Manifest.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'manifest'}: {item['msg']}" for item in error.errors()[:3]
        )
        raise BundleError(f"{FILE_NAME} does not follow the schema: {problems}") from error


def _check_path(path: str) -> None:
    """A path inside the bundle: relative, plain, with forward slashes."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in path or ".." in parts or "\0" in path:
        raise ValueError(f"file path {path!r} leads out of the bundle")
    if str(PurePosixPath(path)) != path:
        raise ValueError(f"file path {path!r} is not in its plain form")


def _finite_float(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse_number(text)


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} appears twice")
        found[key] = value
    return found
