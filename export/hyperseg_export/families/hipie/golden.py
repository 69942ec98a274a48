"""`verify --golden` for HIPIE: set both engines up on a folder, run every case, compare every array."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.key_map import apply_rules, check_equal
from hyperseg_export.checkpoint.weights import Weights, checkpoint_shapes
from hyperseg_export.families.hipie.config import HipieConfig, vit_config
from hyperseg_export.families.hipie.golden_cases import CASES, LEFT_OUT, GoldenRun
from hyperseg_export.families.hipie.golden_graphs import VitAlone, graph_probes
from hyperseg_export.families.hipie.graphs import GRAPHS, build_graph
from hyperseg_export.families.hipie.key_map import rules, vit_rules
from hyperseg_export.families.hipie.tolerances import TOLERANCES
from hyperseg_export.families.release_constants import EXTENSION_KEY
from hyperseg_export.jobs.progress import Progress
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
from hyperseg_runtime.families.hipie.spec import graph_specs

WEIGHTS, VIT_WEIGHTS = "weights.safetensors", "vit_weights.safetensors"


def verify_golden(folder: GoldenFolder, progress: Progress, engines: Sequence[str] = ENGINES) -> GoldenReport:
    """Every array of every case, for the torch modules and for the exported graphs in ONNX Runtime."""
    setup = _Setup(folder)
    compared = tuple(compared_cases(folder, CASES, setup.run, progress, engines, TOLERANCES))
    # Inputs are named among what is not compared.
    left = not_compared(folder, compared, lambda case, array: LEFT_OUT.get(case), lambda array: False)
    return GoldenReport(compared, tuple(left))


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

        def weight(name: str) -> Tensor:
            return self.weights.stored(name)

        return GoldenRun(
            config=self.config,
            vit=self.vit,
            graphs=ProbedGraphs(
                self.weights, specs, lambda name: build_graph(name, self.config), graph_probes(self.config), make
            ),
            backend=backend,
            open_extra=extra_opener(self.vit_weights, make),
            weight=weight,
            arrays=self.folder.arrays,
            sides_px=(self.folder.setting("tiny", "min_size"), self.folder.setting("tiny", "max_size")),
        )
