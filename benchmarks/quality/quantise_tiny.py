"""What each recipe costs the trained tiny model, paired over its held-out scenes, with fp16 beside them.

    python benchmarks/quality/quantise_tiny.py FOLDER

Everything is kept in FOLDER, so that a stopped run goes on. The model was trained neither on the scenes that judge
(seeds from 0) nor on those that calibrate, which follow them. Recipes that must fail are part of it. The last line of
output is the path of the JSON file.
"""

import argparse
from pathlib import Path
from typing import Any

from hyperseg_bench import measure
from hyperseg_bench.quality.datasets.registry import Choice
from hyperseg_export.cli.progress import ExportProgress
from hyperseg_export.export import ExportOptions, export_bundle
from hyperseg_export.quantization.gate import Gate
from hyperseg_export.quantization.quantize import QuantizeOptions, quantize_bundle
from hyperseg_export.samples import trained_checkpoint
from hyperseg_runtime.bundle.manifest import FILE_NAME, Manifest
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.bundle.quantization import GateEntry
from hyperseg_runtime.errors import GateError

CHOICE = Choice("shapes", items=200)
SAMPLES = 32
BUDGET = 0.5
RECIPES: dict[str, dict[str, Any]] = {
    "int8": {"recipe": "int8"},
    "int4": {"recipe": "int4"},
    "int8-weights": {"recipe": "int8-weights"},
    "fp8": {"recipe": "fp8"},
}
BAD: dict[str, dict[str, Any]] = {
    "every graph in 4 bits": {"recipe": "int4", "recipe_of": dict.fromkeys(
        ("image_encoder", "clip_encoder", "fvp", "pixel_decoder", "mask_decoder"), "int4")},
    "calibrated on clips": {"recipe": "int8", "calibration": Choice("shapes-clips", items=2)},
}  # fmt: skip
"""Recipes that lose too much, and what they do wrong."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="Where bundles and evaluations lie.")
    arguments.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    options = arguments.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    fp32 = exported(folder, "fp32")
    rows = [typed_row(folder, fp32, "fp16")]
    rows += [recipe_row(folder, fp32, name, chosen) for name, chosen in RECIPES.items()]
    failures = [failing_row(folder, fp32, name, chosen) for name, chosen in BAD.items()]
    content = {
        "environment": measure.environment(),
        "conditions": {
            "model": "trained_tiny", "data_set": CHOICE.told(), "calibration_samples": SAMPLES, "budget": BUDGET,
            "fp8": "emulated: products of floats that were rounded to e4m3", "load": options.load,
        },
        "size_bytes": read_manifest(fp32).size_bytes,
        "rows": rows,
        "bad": failures,
    }  # fmt: skip
    print(measure.write_results("quantisation", content))


def exported(folder: Path, precision: str) -> Path:
    target = folder / precision
    if not (target / FILE_NAME).is_file():
        with ExportProgress() as progress:
            export_bundle(trained_checkpoint(), target, ExportOptions(precision=precision), progress)
    return target


def typed_row(folder: Path, fp32: Path, precision: str) -> dict[str, Any]:
    """A typed bundle judged as a quantised one is."""
    bundle = exported(folder, precision)
    gate = Gate(folder / f"{precision}-gate", CHOICE, BUDGET, {"threads": 1}, lambda done, of: None)
    gate.ask_before(fp32)
    return {"recipe": precision, "size_bytes": read_manifest(bundle).size_bytes, **told(gate.judge(bundle))}


def recipe_row(folder: Path, fp32: Path, name: str, chosen: dict[str, Any]) -> dict[str, Any]:
    manifest = quantised(folder, fp32, name, chosen)
    assert manifest.quantization is not None and manifest.quantization.gate is not None
    graphs = {entry.spec.name: entry.number_format for entry in manifest.graphs}
    return {
        "recipe": name,
        "size_bytes": manifest.size_bytes,
        "graphs": graphs,
        **told(manifest.quantization.gate),
    }


def failing_row(folder: Path, fp32: Path, name: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """What the gate says; `failed` is False where it lets the recipe pass."""
    try:
        manifest = quantised(folder, fp32, name.replace(" ", "-"), chosen)
    except GateError as error:
        return {"recipe": name, "failed": True, "said": str(error).splitlines()[1:-1]}
    assert manifest.quantization is not None and manifest.quantization.gate is not None
    return {"recipe": name, "failed": False, **told(manifest.quantization.gate)}


def quantised(folder: Path, fp32: Path, name: str, chosen: dict[str, Any]) -> Manifest:
    target = folder / name
    if (target / FILE_NAME).is_file():
        return read_manifest(target)
    with ExportProgress() as progress:
        asked = QuantizeOptions(CHOICE, samples=SAMPLES, budget=BUDGET, threads=1, **chosen)
        return quantize_bundle(fp32, target, asked, progress)


def told(gate: GateEntry) -> dict[str, Any]:
    return {"measures": [measure.model_dump(mode="json") for measure in gate.measures], "failures": gate.failures}


if __name__ == "__main__":
    main()
