"""`verify --golden` for PSALM: set both engines up on a folder, run every case, compare every array."""

from collections.abc import Sequence

from hyperseg_export.checkpoint.key_map import check_equal
from hyperseg_export.families.mask_queries.golden import GoldenModel, compared_cases, opened
from hyperseg_export.families.psalm.config import PsalmConfig
from hyperseg_export.families.psalm.definition import DEFINITION
from hyperseg_export.families.psalm.golden_cases import CASES, is_input, reason_for
from hyperseg_export.families.psalm.golden_graphs import graph_probes
from hyperseg_export.families.psalm.golden_run import GoldenRun
from hyperseg_export.families.psalm.tolerances import TOLERANCES
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import bind_model
from hyperseg_export.parity.golden import ENGINES, GoldenFolder, GoldenReport, GraphMaker, not_compared
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.families.psalm.spec import PsalmDimensions
from hyperseg_runtime.families.psalm.stages import PsalmStages

SHARED_IMAGE = "panoptic"
"""The case whose image the others are about."""


def verify_golden(folder: GoldenFolder, progress: Progress, engines: Sequence[str] = ENGINES) -> GoldenReport:
    """Every array of every case, for the torch modules and for the exported graphs in ONNX Runtime."""
    setup = _Setup(folder)
    compared = [*compared_cases(folder, CASES, setup.run, progress, engines, TOLERANCES)]
    return GoldenReport(tuple(compared), tuple(not_compared(folder, compared, reason_for, is_input)))


class _Setup:
    """Weights, dimensions and contracts of a golden folder."""

    def __init__(self, folder: GoldenFolder) -> None:
        checkpoint = opened(folder, CASES, {})
        self.config = PsalmConfig.from_checkpoint(checkpoint.config, checkpoint.shapes)
        # Padding has an id of its own here, and is what no row of a stored prompt attends to.
        seg, eos = folder.setting("ids", "SEG_TINY"), folder.setting("ids", "PAD_TINY")
        model = bind_model("psalm", DEFINITION.of(self.config, seg, eos, {}), checkpoint)
        check_equal(model.key_map, checkpoint)
        self.model = GoldenModel(model, graph_probes(self.config))
        self.dims = PsalmDimensions.model_validate(model.dimensions.model_dump())
        self.images = folder.arrays(SHARED_IMAGE)["in_images"]

    def run(self, backend: OnnxRuntimeBackend, make: GraphMaker) -> GoldenRun:
        run = self.model.run(lambda *engine: PsalmStages(self.dims, *engine), backend, make)
        return GoldenRun(**vars(run), heads=self.config.mask_decoder.heads, images=self.images)
