"""What `verify --golden` of these families shares: set both engines up on a folder, run every case, compare arrays."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.weights import Weights
from hyperseg_export.families.mask_queries.golden_cases import GoldenRun
from hyperseg_export.families.mask_queries.tolerances import TOLERANCES
from hyperseg_export.families.release_constants import EXTENSION_KEY
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import SourceModel, table_name
from hyperseg_export.parity import golden
from hyperseg_export.parity.golden import Arrays, Compared, Found, GoldenFolder, GraphMaker, ProbedGraphs
from hyperseg_export.parity.probes import Probe
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
        return GoldenRun(
            stages_of(graphs, tables, backend), graphs, tables, backend, golden.extra_opener(weights, make)
        )


def compared_cases(
    folder: GoldenFolder,
    cases: Mapping[str, Callable[[Run, Arrays], Found]],
    run_of: Callable[[OnnxRuntimeBackend, GraphMaker], Run],
    progress: Progress,
    engines: Sequence[str],
    tolerances: Tolerances = TOLERANCES,
) -> Iterator[Compared]:
    """Every array of every case that the folder has, on each engine; no case sees the calls of another."""
    apart = {name: _forgetting(case) for name, case in cases.items()}
    return golden.compared_cases(folder, apart, run_of, progress, engines, tolerances)


def _forgetting(case: Callable[[Run, Arrays], Found]) -> Callable[[Run, Arrays], Found]:
    """The case, without the recorded calls afterwards."""

    def compared(run: Run, arrays: Arrays) -> Found:
        yield from case(run, arrays)
        run.graphs.calls.clear()

    return compared


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
