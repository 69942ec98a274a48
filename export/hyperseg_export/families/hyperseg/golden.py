"""`verify --golden` for HyperSeg: set both engines up on a folder, run every case, compare every array."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.lora import with_adapters
from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.definition import DEFINITION
from hyperseg_export.families.hyperseg.golden_cases import CASES, SKIPPED_CASES, GoldenRun, reason_for
from hyperseg_export.families.hyperseg.golden_graphs import AllHeads, graph_probes
from hyperseg_export.families.mask_queries.golden import GoldenModel, compared_cases, opened, stored_siglip_layers
from hyperseg_export.families.mask_queries.golden_graphs import siglip_hidden_states
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import bind_model
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.golden import (
    ENGINES,
    MODULES,
    Compared,
    GoldenFolder,
    GoldenReport,
    GraphMaker,
    not_compared,
)
from hyperseg_export.parity.tolerances import LORA
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.families.hyperseg.stages import HypersegStages

UNMERGED, MERGED = "lora_unmerged.safetensors", "lora_merged.safetensors"


def verify_golden(folder: GoldenFolder, progress: Progress, engines: Sequence[str] = ENGINES) -> GoldenReport:
    """Every array of every case, for the torch modules and for the exported graphs in ONNX Runtime."""
    setup = _Setup(folder)
    compared = [*_merged_weights(folder), *compared_cases(folder, CASES, setup.run, progress, engines)]
    return GoldenReport(tuple(compared), tuple(not_compared(folder, compared, _reason_for, _is_input)))


class _Setup:
    """Weights, dimensions and contracts of a golden folder."""

    def __init__(self, folder: GoldenFolder) -> None:
        checkpoint = opened(folder, CASES, {"perceiver_heads": folder.setting("tiny", "fvp_heads")})
        self.config = HypersegConfig.from_checkpoint(checkpoint.config, checkpoint.shapes)
        self.stored_siglip_layers = stored_siglip_layers(checkpoint)
        seg, eos = folder.setting("ids", "SEG_TINY"), folder.setting("ids", "EOS_TINY")
        definition = DEFINITION.of(self.config, seg, eos, {})
        model = bind_model("hyperseg", definition, checkpoint, self._extra_modules())
        self.model = GoldenModel(model, graph_probes(self.config))
        self.dims = HypersegDimensions.model_validate(model.dimensions.model_dump())

    def run(self, backend: OnnxRuntimeBackend, make: GraphMaker) -> GoldenRun:
        run = self.model.run(lambda *engine: HypersegStages(self.dims, *engine), backend, make)
        return GoldenRun(**vars(run), config=self.config, stored_siglip_layers=self.stored_siglip_layers)

    def _extra_modules(self) -> Iterator[nn.Module]:
        """Modules beside the graphs' that take weights."""
        with torch.device("meta"):
            yield AllHeads(self.config, self.config.level_shapes)
            yield siglip_hidden_states(self.config.siglip, self.stored_siglip_layers).build()


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


def _reason_for(case: str, array: str) -> str | None:
    return SKIPPED_CASES.get(case) or reason_for(case, array)


def _is_input(array: str) -> bool:
    bare = array.split("_", 1)[1] if array[0] == "f" and array[1].isdigit() else array
    return bare.startswith("in_") or bare.endswith(("_uint8", "_packed_shape", "masks0_shape", "region_tokens"))
