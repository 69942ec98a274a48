"""`verify --golden` for HyperSeg: set both engines up on a folder, run every case, compare every array."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.lora import with_adapters
from hyperseg_export.checkpoint.weights import Weights
from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.config_json import EXTENSION_KEY
from hyperseg_export.families.hyperseg.golden_cases import CASES, SKIPPED_CASES, GoldenRun, reason_for
from hyperseg_export.families.hyperseg.golden_graphs import (
    AllHeads,
    ExtraGraph,
    graph_probes,
    siglip_hidden_states,
)
from hyperseg_export.families.hyperseg.plan import plan_of
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import plan_model
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.golden import (
    MODULES,
    ONNX,
    Compared,
    GoldenFolder,
    GoldenReport,
    GraphMaker,
    NotCompared,
    ProbedGraphs,
    compare,
    module_maker,
    onnx_maker,
)
from hyperseg_export.parity.probes import Probed, probed_spec
from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_export.parity.tolerances import LORA
from hyperseg_runtime.backends.base import Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions

WEIGHTS = "weights.safetensors"
UNMERGED, MERGED = "lora_unmerged.safetensors", "lora_merged.safetensors"
SIGLIP_LAYERS = "model.vision_tower.vision_model.encoder.layers."


def verify_golden(folder: GoldenFolder, progress: Progress) -> GoldenReport:
    """Every array of every case, for the torch modules and for the exported graphs in ONNX Runtime."""
    setup = _Setup(folder)
    compared: list[Compared] = list(_merged_weights(folder))
    cases, stage = _known(folder), 0
    for engine in (MODULES, ONNX):
        with tempfile.TemporaryDirectory() as scratch, OnnxRuntimeBackend() as backend:
            maker = module_maker(backend) if engine == MODULES else onnx_maker(backend, Path(scratch))
            run = setup.run(backend, maker)
            for case in cases:
                stage += 1
                progress.stage(f"{engine}: {case}", stage, 2 * len(cases))
                for name, found, expected in CASES[case](run, folder.arrays(case)):
                    compared.append(compare(engine, case, name, found, expected))
                run.graphs.calls.clear()
    return GoldenReport(tuple(compared), tuple(_not_compared(folder, compared)))


class _Setup:
    """Weights, dimensions and contracts of a golden folder."""

    def __init__(self, folder: GoldenFolder) -> None:
        settings = dict(folder.setting("config"))
        settings[EXTENSION_KEY] = {
            "image_px": folder.setting("tiny", "image"),
            "perceiver_heads": folder.setting("tiny", "fvp_heads"),
            "context": _longest_sequence(folder),
        }
        # Where a sequence is longer than the rotary table, the original extends the table without a word.
        stated = settings.get("max_position_embeddings", 0)
        settings["max_position_embeddings"] = max(stated, settings[EXTENSION_KEY]["context"])
        self.checkpoint = Checkpoint(folder.directory, settings)
        self.checkpoint.add_file(folder.directory / WEIGHTS)
        shapes = self.checkpoint.shapes
        self.config = HypersegConfig.from_checkpoint(settings, shapes)
        norms = [n for n in shapes if n.startswith(SIGLIP_LAYERS) and n.endswith("layer_norm1.weight")]
        self.stored_siglip_layers = len(norms)
        ids = {"seg": folder.setting("ids", "SEG_TINY"), "eos": folder.setting("ids", "EOS_TINY")}
        self.model = plan_model("hyperseg", plan_of(self.config), self.checkpoint, ids, self._extra_modules())

    def run(self, backend: OnnxRuntimeBackend, make: GraphMaker) -> GoldenRun:
        weights = self.model.weights
        specs = {spec.name: spec for spec in self.model.specs}
        graphs = ProbedGraphs(weights, specs, self.model.module, graph_probes(self.config), make)

        def open_extra(extra: ExtraGraph) -> Graph:
            with torch.device("meta"):
                module = extra.build().eval()
            probed = Probed(module, extra.probe)
            return make(probed, probed_spec(probed, extra.spec), weights.of_module(module))

        return GoldenRun(
            config=self.config,
            dims=HypersegDimensions.model_validate(self.model.dimensions.model_dump()),
            graphs=RecordingGraphs(graphs),
            tables=_Tables(weights),
            backend=backend,
            open_extra=open_extra,
            stored_siglip_layers=self.stored_siglip_layers,
        )

    def _extra_modules(self) -> Iterator[nn.Module]:
        """Modules beside the graphs' that take weights."""
        with torch.device("meta"):
            yield AllHeads(self.config, self.config.level_shapes)
            yield siglip_hidden_states(self.config, self.stored_siglip_layers).build()


class _Tables:
    """Host tables straight from the weights."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def table(self, name: str) -> np.ndarray:
        values: np.ndarray = self._weights.stored(f"embeddings.{name}").to(torch.float32).numpy()
        return values

    def token_rows(self, token_ids: tuple[int, ...]) -> np.ndarray:
        return self.table("tokens")[list(token_ids)]


def _longest_sequence(folder: GoldenFolder) -> int:
    """Cache slots that the longest stored prompt and its answer need."""
    longest = 1
    for case in _known(folder):
        arrays = folder.arrays(case)
        answer = len(arrays["step_logits"]) if "step_logits" in arrays else 0
        lengths = [array.shape[1] for name, array in arrays.items() if name.endswith("inputs_embeds")]
        longest = max([longest, *(length + answer for length in lengths)])
    return longest


def _known(folder: GoldenFolder) -> list[str]:
    return [case for case in CASES if case in folder.cases()]


def _merged_weights(folder: GoldenFolder) -> Iterator[Compared]:
    """The adapter case: our merge against peft's."""
    if not (folder.directory / UNMERGED).is_file():
        return
    unmerged = Checkpoint(folder.directory, {})
    unmerged.add_file(folder.directory / UNMERGED)
    merged = Checkpoint(folder.directory, {})
    merged.add_file(folder.directory / MERGED)
    ours = with_adapters(unmerged)
    for name in sorted(merged.shapes):
        found, expected = ours.tensor(name).numpy(), merged.tensor(name).numpy()
        yield Compared(MODULES, "lora", name, worst_error(found, expected), LORA)


def _not_compared(folder: GoldenFolder, compared: list[Compared]) -> Iterator[NotCompared]:
    """Stored results that nothing was compared with; inputs are no results."""
    done = {(row.case, row.array) for row in compared}
    for case in folder.cases():
        for array in folder.arrays(case):
            if (case, array) in done or _is_input(array):
                continue
            reason = SKIPPED_CASES.get(case) or reason_for(case, array)
            yield NotCompared(case, array, reason or "nothing here computes it")


def _is_input(array: str) -> bool:
    bare = array.split("_", 1)[1] if array[0] == "f" and array[1].isdigit() else array
    return bare.startswith("in_") or bare.endswith(("_uint8", "_packed_shape", "masks0_shape", "region_tokens"))
