"""Level "golden": modules and exported ONNX graphs against arrays that the original code produced.

A golden folder holds manifest.json (dimensions, config, token ids), weights.safetensors and one .npz per
case. What a case computes is the family's business; this file opens folders, makes graphs and compares.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from hyperseg_export.checkpoint.weights import ModuleWeights, Weights, materialise
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.onnx.weight_store import WeightStore
from hyperseg_export.onnx.writer import export_graph, save_graph
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.extra_graphs import ExtraGraph
from hyperseg_export.parity.module_graph import ModuleGraph
from hyperseg_export.parity.probes import NO_PROBE, Probe, Probed, ProbedWeights, probed_spec
from hyperseg_export.parity.tolerances import Tolerances
from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import InputError

MODULES, ONNX = "torch modules", "ONNX graphs"
ENGINES = (MODULES, ONNX)
Arrays = Mapping[str, np.ndarray]
Found = Iterator[tuple[str, np.ndarray, np.ndarray]]
"""Array name, value found, value expected."""
Run = TypeVar("Run")


@dataclass(frozen=True)
class GoldenFolder:
    directory: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, directory: Path) -> "GoldenFolder":
        path = directory / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"golden folder {directory}: manifest.json cannot be read: {error}") from error
        if not (directory / "weights.safetensors").is_file():
            raise InputError(f"golden folder {directory}: weights.safetensors is missing")
        return cls(directory, manifest)

    def setting(self, *path: str) -> Any:
        value: Any = self.manifest
        for key in path:
            if not isinstance(value, dict) or key not in value:
                raise InputError(f"golden folder {self.directory}: manifest.json lacks {'.'.join(path)}")
            value = value[key]
        return value

    def weight_names(self) -> list[str]:
        with safe_open(self.directory / "weights.safetensors", framework="np") as file:
            return list(file.keys())

    def cases(self) -> list[str]:
        return sorted(path.stem for path in self.directory.glob("*.npz"))

    def arrays(self, case: str) -> dict[str, np.ndarray]:
        try:
            with np.load(self.directory / f"{case}.npz", allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError) as error:
            raise InputError(f"golden folder {self.directory}: {case}.npz cannot be read: {error}") from error


@dataclass(frozen=True)
class Compared:
    """One golden array against what one engine computed."""

    engine: str
    case: str
    array: str
    worst_error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.worst_error <= self.tolerance


@dataclass(frozen=True)
class NotCompared:
    case: str
    array: str
    reason: str


@dataclass(frozen=True)
class GoldenReport:
    compared: tuple[Compared, ...]
    not_compared: tuple[NotCompared, ...]

    @property
    def failures(self) -> list[Compared]:
        return [row for row in self.compared if not row.passed]

    def to_json(self) -> dict[str, Any]:
        return {
            "compared": [{**asdict(row), "passed": row.passed} for row in self.compared],
            "not_compared": [asdict(row) for row in self.not_compared],
            "passed": not self.failures,
        }


def compare(
    tolerances: Tolerances, engine: str, case: str, array: str, found: np.ndarray, expected: np.ndarray
) -> Compared:
    exact = not np.issubdtype(expected.dtype, np.floating)
    error = worst_error(found, expected)
    return Compared(engine, case, array, error, 0.0 if exact else tolerances.of(array))


def matching(found: Arrays, arrays: Arrays) -> Found:
    """Pairs for every name that is in both."""
    for name in arrays:
        if name in found:
            yield name, found[name], arrays[name]


GraphMaker = Callable[[Probed, GraphSpec, ModuleWeights], Graph]


def compared_cases(
    folder: GoldenFolder,
    cases: Mapping[str, Callable[[Run, Arrays], Found]],
    run_of: Callable[[OnnxRuntimeBackend, GraphMaker], Run],
    progress: Progress,
    engines: Sequence[str],
    tolerances: Tolerances,
) -> Iterator[Compared]:
    """Every array of every case that the folder has, on each engine; `run_of` sets one up."""
    known, stage = [case for case in cases if case in folder.cases()], 0
    for engine in engines:
        with tempfile.TemporaryDirectory() as scratch, OnnxRuntimeBackend() as backend:
            run = run_of(backend, module_maker(backend) if engine == MODULES else onnx_maker(backend, Path(scratch)))
            for case in known:
                stage += 1
                progress.stage(f"{engine}: {case}", stage, len(engines) * len(known))
                for name, found, expected in cases[case](run, folder.arrays(case)):
                    yield compare(tolerances, engine, case, name, found, expected)


def not_compared(
    folder: GoldenFolder,
    compared: Iterable[Compared],
    reason_for: Callable[[str, str], str | None],
    is_input: Callable[[str], bool],
) -> Iterator[NotCompared]:
    """Stored results that nothing was compared with, and why; inputs are no results."""
    done = {(row.case, row.array) for row in compared}
    for case in folder.cases():
        for array in folder.arrays(case):
            if (case, array) not in done and not is_input(array):
                yield NotCompared(case, array, reason_for(case, array) or "nothing here computes it")


class ProbedGraphs(Mapping[str, Graph]):
    """Graphs with probes, made by `make` when first asked for."""

    def __init__(
        self,
        weights: Weights,
        specs: Mapping[str, GraphSpec],
        modules: Callable[[str], nn.Module],
        probes: Mapping[str, Probe],
        make: GraphMaker,
    ) -> None:
        self._weights, self._specs, self._modules = weights, specs, modules
        self._probes, self._make = probes, make
        self._made: dict[str, Graph] = {}

    def __getitem__(self, name: str) -> Graph:
        if name not in self._made:
            module = self._modules(name)
            probed = Probed(module, self._probes.get(name, NO_PROBE))
            spec = probed_spec(probed, self._specs[name])
            self._made[name] = self._make(probed, spec, self._weights.of_module(module))
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def extra_opener(weights: Weights, make: GraphMaker) -> Callable[[ExtraGraph], Graph]:
    """Opens graphs outside the product with their part of `weights`."""

    def open_extra(extra: ExtraGraph) -> Graph:
        with torch.device("meta"):
            module = extra.build().eval()
        probed = Probed(module, extra.probe)
        return make(probed, probed_spec(probed, extra.spec), weights.of_module(module))

    return open_extra


def module_maker(backend: Backend) -> GraphMaker:
    """Graphs that run the torch modules themselves."""

    def make(probed: Probed, spec: GraphSpec, values: ModuleWeights) -> Graph:
        materialise(probed.module, values)
        return ModuleGraph(spec, probed, backend)

    return make


def onnx_maker(backend: Backend, folder: Path) -> GraphMaker:
    """Graphs that are exported to `folder` with the product's own writer and run by `backend`."""
    store = WeightStore(folder, {})

    def make(probed: Probed, spec: GraphSpec, values: ModuleWeights) -> Graph:
        path = folder / f"{spec.name}.onnx"
        with store.open(f"{spec.name}.data") as weights:
            save_graph(export_graph(probed, spec, ProbedWeights(values)), path, weights)
        return backend.open(spec, path)

    return make
