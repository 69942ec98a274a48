"""`verify --golden` for HIPIE: set both engines up on a folder, run every case, compare every array."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.key_map import apply_rules, check_equal
from hyperseg_export.checkpoint.weights import Weights, checkpoint_shapes
from hyperseg_export.families.hipie.config import HipieConfig, vit_config
from hyperseg_export.families.hipie.config_json import EXTENSION_KEY
from hyperseg_export.families.hipie.golden_cases import CASES, LEFT_OUT, GoldenRun
from hyperseg_export.families.hipie.golden_graphs import VitAlone, graph_probes
from hyperseg_export.families.hipie.graphs import GRAPHS, build_graph
from hyperseg_export.families.hipie.key_map import rules, vit_rules
from hyperseg_export.families.hipie.tolerances import TOLERANCES
from hyperseg_export.jobs.progress import Progress
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
from hyperseg_runtime.families.hipie.spec import graph_specs

WEIGHTS, VIT_WEIGHTS = "weights.safetensors", "vit_weights.safetensors"


def verify_golden(folder: GoldenFolder, progress: Progress, engines: Sequence[str] = (MODULES, ONNX)) -> GoldenReport:
    """Every array of every case, for the torch modules and for the exported graphs in ONNX Runtime."""
    setup = _Setup(folder)
    compared: list[Compared] = []
    cases, stage = [case for case in CASES if case in folder.cases()], 0
    for engine in engines:
        with tempfile.TemporaryDirectory() as scratch, OnnxRuntimeBackend() as backend:
            maker = module_maker(backend) if engine == MODULES else onnx_maker(backend, Path(scratch))
            run = setup.run(backend, maker)
            for case in cases:
                stage += 1
                progress.stage(f"{engine}: {case}", stage, len(engines) * len(cases))
                for name, found, expected in CASES[case](run, folder.arrays(case)):
                    compared.append(compare(TOLERANCES, engine, case, name, found, expected))
    done = {(row.case, row.array) for row in compared}
    stored = [(case, array) for case in folder.cases() for array in folder.arrays(case)]
    why = "nothing here computes it"
    left = [NotCompared(*row, LEFT_OUT.get(row[0], why)) for row in stored if row not in done]
    return GoldenReport(tuple(compared), tuple(left))


class _Setup:
    """Weights, dimensions and contracts of a golden folder; the plain backbone has weights of its own."""

    def __init__(self, folder: GoldenFolder) -> None:
        self.folder = folder
        tiny = {name: folder.setting("tiny", name) for name in ("bert_heads", "heads", "md_queries")}
        settings = {
            EXTENSION_KEY: {
                "text_heads": tiny["bert_heads"], "heads": tiny["heads"], "mask_dino_queries": tiny["md_queries"],
            }
        }  # fmt: skip
        checkpoint = Checkpoint(folder.directory, settings)
        checkpoint.add_file(folder.directory / WEIGHTS)
        self.config = HipieConfig.from_checkpoint(settings, checkpoint.shapes)
        modules = [build_graph(name, self.config) for name in GRAPHS]
        key_map = apply_rules(rules(self.config), checkpoint.shapes, checkpoint_shapes(modules))
        check_equal(key_map, checkpoint)
        self.weights = Weights(checkpoint, key_map)
        self.vit, self.vit_weights = None, self.weights
        if (folder.directory / VIT_WEIGHTS).is_file():
            alone = Checkpoint(folder.directory, {})
            alone.add_file(folder.directory / VIT_WEIGHTS)
            self.vit = vit_config(alone.shapes, folder.setting("tiny", "vit", "num_heads"))
            with torch.device("meta"):
                module = VitAlone(self.vit)
            self.vit_weights = Weights(alone, apply_rules(vit_rules(), alone.shapes, checkpoint_shapes([module])))

    def run(self, backend: OnnxRuntimeBackend, make: GraphMaker) -> GoldenRun:
        specs = {spec.name: spec for spec in graph_specs(self.config.dimensions())}

        def open_extra(extra: ExtraGraph) -> Graph:
            with torch.device("meta"):
                module = extra.build().eval()
            probed = Probed(module, extra.probe)
            return make(probed, probed_spec(probed, extra.spec), self.vit_weights.of_module(module))

        def weight(name: str) -> Tensor:
            return self.weights.stored(name)

        return GoldenRun(
            config=self.config,
            vit=self.vit,
            graphs=ProbedGraphs(
                self.weights, specs, lambda name: build_graph(name, self.config), graph_probes(self.config), make
            ),
            backend=backend,
            open_extra=open_extra,
            weight=weight,
            arrays=self.folder.arrays,
            sides_px=(self.folder.setting("tiny", "min_size"), self.folder.setting("tiny", "max_size")),
        )
