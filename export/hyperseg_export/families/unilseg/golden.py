"""`verify --golden` for UniLSeg: set both engines up on a folder, run every case, compare every array."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.key_map import check_equal
from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.config_json import EXTENSION_KEY
from hyperseg_export.families.unilseg.definition import definition_of
from hyperseg_export.families.unilseg.golden_cases import CASES, GoldenRun, HostSteps, is_input, reason_for
from hyperseg_export.families.unilseg.golden_graphs import graph_probes
from hyperseg_export.families.unilseg.host_steps import RuntimeSteps
from hyperseg_export.families.unilseg.tolerances import TOLERANCES
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import bind_model
from hyperseg_export.parity.extra_graphs import ExtraGraph
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
from hyperseg_runtime.backends.base import Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend

WEIGHTS = "weights.safetensors"


def verify_golden(
    folder: GoldenFolder,
    progress: Progress,
    host: HostSteps | None = None,
    engines: Sequence[str] = (MODULES, ONNX),
) -> GoldenReport:
    """Every array of every case, for the torch modules and for the exported graphs in ONNX Runtime.

    `host` are the steps outside the graphs, the runtime's own unless told otherwise.
    """
    setup, host = _Setup(folder), host or RuntimeSteps()
    compared: list[Compared] = []
    cases, stage = [case for case in CASES if case in folder.cases()], 0
    for engine in engines:
        with tempfile.TemporaryDirectory() as scratch, OnnxRuntimeBackend() as backend:
            maker = module_maker(backend) if engine == MODULES else onnx_maker(backend, Path(scratch))
            run = setup.run(backend, maker, host)
            for case in cases:
                stage += 1
                progress.stage(f"{engine}: {case}", stage, len(engines) * len(cases))
                for name, found, expected in CASES[case](run, folder.arrays(case)):
                    compared.append(compare(TOLERANCES, engine, case, name, found, expected))
    return GoldenReport(tuple(compared), tuple(_not_compared(folder, compared)))


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

        def open_extra(extra: ExtraGraph) -> Graph:
            with torch.device("meta"):
                module = extra.build().eval()
            probed = Probed(module, extra.probe)
            return make(probed, probed_spec(probed, extra.spec), weights.of_module(module))

        return GoldenRun(
            directory=self.directory,
            config=self.config,
            graphs=ProbedGraphs(weights, specs, self.model.module, graph_probes(self.config), make),
            backend=backend,
            open_extra=open_extra,
            weight=weights.stored,
            host=host,
        )


def _not_compared(folder: GoldenFolder, compared: list[Compared]) -> Iterator[NotCompared]:
    """Stored results that nothing was compared with."""
    done = {(row.case, row.array) for row in compared}
    for case in folder.cases():
        for array in folder.arrays(case):
            if (case, array) not in done and not is_input(array):
                yield NotCompared(case, array, reason_for(case))
