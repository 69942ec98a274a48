"""What `verify --golden` of these families shares: set both engines up on a folder, run every case, compare arrays."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.weights import Weights
from hyperseg_export.families.mask_queries.config_json import EXTENSION_KEY
from hyperseg_export.families.mask_queries.golden_cases import Found, GoldenRun
from hyperseg_export.families.mask_queries.tolerances import TOLERANCES
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import SourceModel, table_name
from hyperseg_export.parity.extra_graphs import ExtraGraph
from hyperseg_export.parity.golden import (
    MODULES,
    ONNX,
    Arrays,
    Compared,
    GoldenFolder,
    GraphMaker,
    NotCompared,
    ProbedGraphs,
    compare,
    module_maker,
    onnx_maker,
)
from hyperseg_export.parity.probes import Probe, Probed, probed_spec
from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_export.parity.tolerances import Tolerances
from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.families.mask_queries.stages import MaskQueryStages

WEIGHTS = "weights.safetensors"
SIGLIP_LAYERS = "model.vision_tower.vision_model.encoder.layers."

Run = TypeVar("Run", bound=GoldenRun[Any])
Stages = TypeVar("Stages", bound=MaskQueryStages[Any, Any])


def opened(folder: GoldenFolder, cases: Iterable[str], constants: Mapping[str, int]) -> Checkpoint:
    """The folder's weights with the settings of its config.json; `constants` are those that the family adds."""
    settings = dict(folder.setting("config"))
    context = _longest_sequence(folder, cases)
    settings[EXTENSION_KEY] = {"image_px": folder.setting("tiny", "image"), "context": context, **constants}
    # Where a sequence is longer than the rotary table, the original extends the table without a word.
    settings["max_position_embeddings"] = max(settings.get("max_position_embeddings", 0), context)
    checkpoint = Checkpoint(folder.directory, settings)
    checkpoint.add_file(folder.directory / WEIGHTS)
    return checkpoint


def stored_siglip_layers(checkpoint: Checkpoint) -> int:
    return sum(n.startswith(SIGLIP_LAYERS) and n.endswith("layer_norm1.weight") for n in checkpoint.shapes)


@dataclass(frozen=True)
class GoldenModel:
    """A model bound to the weights of a folder, and what its graphs show beside their outputs."""

    model: SourceModel
    probes: Mapping[str, Probe]

    def run(
        self,
        stages_of: Callable[[Mapping[str, Graph], "Tables", Backend], Stages],
        backend: OnnxRuntimeBackend,
        make: GraphMaker,
    ) -> GoldenRun[Stages]:
        weights = self.model.weights
        specs = {spec.name: spec for spec in self.model.specs}
        graphs = RecordingGraphs(ProbedGraphs(weights, specs, self.model.module, self.probes, make))
        tables = Tables(weights)

        def open_extra(extra: ExtraGraph) -> Graph:
            with torch.device("meta"):
                module = extra.build().eval()
            probed = Probed(module, extra.probe)
            return make(probed, probed_spec(probed, extra.spec), weights.of_module(module))

        return GoldenRun(stages_of(graphs, tables, backend), graphs, tables, backend, open_extra)


def compared_cases(
    folder: GoldenFolder,
    cases: Mapping[str, Callable[[Run, Arrays], Found]],
    run_of: Callable[[OnnxRuntimeBackend, GraphMaker], Run],
    progress: Progress,
    tolerances: Tolerances = TOLERANCES,
) -> Iterator[Compared]:
    """Every array of every case that the folder has, for the torch modules and for the graphs in ONNX Runtime."""
    known, stage = [case for case in cases if case in folder.cases()], 0
    for engine in (MODULES, ONNX):
        with tempfile.TemporaryDirectory() as scratch, OnnxRuntimeBackend() as backend:
            run = run_of(backend, module_maker(backend) if engine == MODULES else onnx_maker(backend, Path(scratch)))
            for case in known:
                stage += 1
                progress.stage(f"{engine}: {case}", stage, 2 * len(known))
                for name, found, expected in cases[case](run, folder.arrays(case)):
                    yield compare(tolerances, engine, case, name, found, expected)
                run.graphs.calls.clear()


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


class Tables:
    """Host tables straight from the weights."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def table(self, name: str) -> np.ndarray:
        values: np.ndarray = self._weights.stored(table_name(name)).to(torch.float32).numpy()
        return values

    def rows(self, name: str, indices: Sequence[int]) -> np.ndarray:
        return self.table(name)[list(indices)]


def _longest_sequence(folder: GoldenFolder, cases: Iterable[str]) -> int:
    """Cache slots that the longest stored prompt and its answer need."""
    longest = 1
    for case in set(cases) & set(folder.cases()):
        arrays = folder.arrays(case)
        answer = len(arrays["step_logits"]) if "step_logits" in arrays else 0
        rows = [array for name, array in arrays.items() if name.endswith(("inputs_embeds", "last_hidden_state"))]
        lengths = [array.shape[1] for array in rows]
        longest = max([longest, *(length + answer for length in lengths)])
    return longest
