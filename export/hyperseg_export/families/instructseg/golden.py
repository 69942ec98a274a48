"""`verify --golden` for InstructSeg: set both engines up on a folder, run every case, compare every array."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from hyperseg_export.families.instructseg.config import InstructsegConfig
from hyperseg_export.families.instructseg.definition import DEFINITION
from hyperseg_export.families.instructseg.golden_cases import CASES, GoldenRun
from hyperseg_export.families.instructseg.golden_graphs import graph_probes
from hyperseg_export.families.mask_queries.golden import GoldenModel, compared_cases, opened, stored_siglip_layers
from hyperseg_export.families.mask_queries.golden_graphs import siglip_hidden_states
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import bind_model
from hyperseg_export.parity.golden import ENGINES, GoldenFolder, GoldenReport, GraphMaker, not_compared
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions
from hyperseg_runtime.families.instructseg.stages import InstructsegStages

LEARNED_LATENTS = "the learned latents: a parameter of the graph here, no value of it"
GIVEN = "an input of this case"
MARGIN = "how far the best score is from the next; the score itself is compared"
INPUT_ENDINGS = ("_uint8", "_packed_shape", "masks0_shape", "reference_idx")


def verify_golden(folder: GoldenFolder, progress: Progress, engines: Sequence[str] = ENGINES) -> GoldenReport:
    """Every array of every case, for the torch modules and for the exported graphs in ONNX Runtime."""
    setup = _Setup(folder)
    compared = list(compared_cases(folder, CASES, setup.run, progress, engines))
    return GoldenReport(tuple(compared), tuple(not_compared(folder, compared, _reason_for, _is_input)))


class _Setup:
    """Weights, dimensions and contracts of a golden folder."""

    def __init__(self, folder: GoldenFolder) -> None:
        heads = {"perceiver_heads": "ovp_heads", "fusion_heads": "vmtf_heads"}
        checkpoint = opened(folder, CASES, {ours: folder.setting("tiny", theirs) for ours, theirs in heads.items()})
        self.folder = folder
        self.config = InstructsegConfig.from_checkpoint(checkpoint.config, checkpoint.shapes)
        self.stored_siglip_layers = stored_siglip_layers(checkpoint)
        seg, eos = folder.setting("ids", "SEG_TINY"), folder.setting("ids", "EOS_TINY")
        model = bind_model("instructseg", DEFINITION.of(self.config, seg, eos, {}), checkpoint, self._extra_modules())
        self.model = GoldenModel(model, graph_probes(self.config))
        self.dims = InstructsegDimensions.model_validate(model.dimensions.model_dump())

    def run(self, backend: OnnxRuntimeBackend, make: GraphMaker) -> GoldenRun:
        run = self.model.run(lambda *engine: InstructsegStages(self.dims, *engine), backend, make)
        return GoldenRun(
            **vars(run),
            config=self.config,
            stored_siglip_layers=self.stored_siglip_layers,
            arrays_of=self.folder.arrays,
        )

    def _extra_modules(self) -> Iterator[nn.Module]:
        """Modules beside the graphs' that take weights."""
        with torch.device("meta"):
            yield siglip_hidden_states(self.config.siglip, self.stored_siglip_layers).build()


def _reason_for(case: str, array: str) -> str | None:
    if case == "resamplers" and array.endswith(("latents_in", "media")):
        return GIVEN
    if array.split("_call")[0].endswith("ovp_latents_in"):
        return LEARNED_LATENTS
    return MARGIN if array.endswith("best_score_margin0") else None


def _is_input(array: str) -> bool:
    bare = array.split("_", 2)[2] if array[0] == "f" and array[1].isdigit() and "_o" in array else array
    return bare.startswith("in_") or "_in_" in array or array.endswith(INPUT_ENDINGS)
