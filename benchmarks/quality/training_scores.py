"""How good the last state of a training is: written, exported, run as any bundle is."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hyperseg_bench.quality.shapes_evaluation import evaluate_shapes
from hyperseg_export.export import ExportOptions, export_bundle
from hyperseg_export.families.hyperseg.training.scenes import photographs
from hyperseg_export.families.hyperseg.training.trainer import load_state
from hyperseg_export.families.hyperseg.training.writing import write_trained
from hyperseg_runtime.session.pipeline import Pipeline

CURVE = "curve.jsonl"


def evaluate_training(
    folder: Path, scenes: int, clips: int, tell: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
    """Scores on the made scenes of seeds 0, 1, ... in ONNX Runtime; also appended to `folder`/curve.jsonl."""
    state = load_state(folder)
    with tempfile.TemporaryDirectory() as made:
        checkpoint, bundle = Path(made) / "checkpoint", Path(made) / "bundle"
        write_trained(folder, checkpoint)
        export_bundle(checkpoint, bundle, ExportOptions(measure_parity=False))
        with Pipeline.load(bundle) as pipeline:
            scores = evaluate_shapes(pipeline, range(scenes), photographs(), clips, tell)
    entry = {
        "stage": state["stage"], "step": state["step"], "cpu_minutes": round(state.get("cpu_s", 0) / 60, 1),
        "scenes": scenes, "scores": scores,
    }  # fmt: skip
    with (folder / CURVE).open("a") as curve:
        curve.write(json.dumps(entry) + "\n")
    return entry
