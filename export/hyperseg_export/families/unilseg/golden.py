"""`verify --golden` for UniLSeg: set both engines up on a folder, run every case, compare every array."""

from collections.abc import Sequence

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.key_map import check_equal
from hyperseg_export.families.release_constants import EXTENSION_KEY
from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.definition import definition_of
from hyperseg_export.families.unilseg.golden_cases import CASES, GoldenRun, HostSteps, is_input, reason_for
from hyperseg_export.families.unilseg.golden_graphs import graph_probes
from hyperseg_export.families.unilseg.host_steps import RuntimeSteps
from hyperseg_export.families.unilseg.tolerances import TOLERANCES
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import bind_model
from hyperseg_export.parity.golden import (
    ENGINES,
    GoldenFolder,
    GoldenReport,
    GraphMaker,
    ProbedGraphs,
    compared_cases,
    extra_opener,
    not_compared,
)
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend

WEIGHTS = "weights.safetensors"


def verify_golden(
    folder: GoldenFolder,
    progress: Progress,
    engines: Sequence[str] = ENGINES,
    host: HostSteps | None = None,
) -> GoldenReport:
    """Every array of every case, for the torch modules and for the exported graphs in ONNX Runtime.

    `host` are the steps outside the graphs, the runtime's own unless told otherwise.
    """
    setup, host = _Setup(folder), host or RuntimeSteps()

    def run_of(backend: OnnxRuntimeBackend, make: GraphMaker) -> GoldenRun:
        return setup.run(backend, make, host)

    compared = tuple(compared_cases(folder, CASES, run_of, progress, engines, TOLERANCES))
    return GoldenReport(compared, tuple(not_compared(folder, compared, reason_for, is_input)))


class _Setup:
    """Weights, dimensions and contracts of a golden folder."""

    def __init__(self, folder: GoldenFolder) -> None:
        settings = {
            EXTENSION_KEY: {
                "image_px": folder.setting("config", "input_size"),
                "words": folder.setting("config", "word_len"),
            }
        }
        self.directory = folder.directory
        checkpoint = Checkpoint(folder.directory, settings)
        checkpoint.add_file(folder.directory / WEIGHTS)
        self.config = UnilsegConfig.from_checkpoint(settings, checkpoint.shapes)
        self.model = bind_model("unilseg", definition_of(self.config, {}), checkpoint)
        check_equal(self.model.key_map, checkpoint)

    def run(self, backend: OnnxRuntimeBackend, make: GraphMaker, host: HostSteps) -> GoldenRun:
        weights = self.model.weights
        specs = {spec.name: spec for spec in self.model.specs}
        return GoldenRun(
            directory=self.directory,
            config=self.config,
            graphs=ProbedGraphs(weights, specs, self.model.module, graph_probes(self.config), make),
            backend=backend,
            open_extra=extra_opener(weights, make),
            weight=weights.stored,
            host=host,
        )
