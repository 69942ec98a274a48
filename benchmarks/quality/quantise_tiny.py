"""What each recipe costs the trained tiny model, paired over its held-out scenes, with fp16 beside them.

    python benchmarks/quality/quantise_tiny.py FOLDER
    python benchmarks/quality/quantise_tiny.py FOLDER --others --auto --bad

Everything is kept in FOLDER, so that a stopped run goes on. The model was trained neither on the scenes that judge
(seeds from 0) nor on those that calibrate, which follow them. Other families have no trained weights: their rows
(`--others`) tell sizes, and that nothing judged them. The last line of output is the path of the JSON file.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperseg_bench import measure
from hyperseg_bench.quality.datasets.registry import Choice
from hyperseg_export.cli.progress import ExportProgress
from hyperseg_export.export import ExportOptions, export_bundle
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.quantization.gate import BEFORE, Gate
from hyperseg_export.quantization.quantize import QuantizeOptions, gate_folder, quantize_bundle
from hyperseg_export.samples import trained_checkpoint
from hyperseg_runtime.bundle.manifest import FILE_NAME, Manifest
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.bundle.quantization import NOT_GATED, GateEntry
from hyperseg_runtime.errors import GateError

RESULT = "quantisation"
CHOICE = Choice("shapes", items=190)
"""8 expressions each."""
AUTO_CHOICE = Choice("shapes", items=60)
"""Several hundred expressions: `auto` asks them once for each graph and form."""
SAMPLES = 32
FEW = 2
"""Calibrate where nothing is judged."""
BUDGET = 0.5
RECIPES, TYPED = ("int8", "int4", "fp8"), ("fp16",)
BAD: dict[str, Any] = {
    "recipe": "int4",
    "recipe_of": dict.fromkeys(("image_encoder", "clip_encoder", "fvp", "pixel_decoder", "mask_decoder"), "int4"),
}
"""Every graph in 4 bits: loses too much."""
NOT_MEASURED = "not measured"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="Where bundles and evaluations lie.")
    arguments.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    arguments.add_argument("--recipes", nargs="+", choices=(*RECIPES, *TYPED), default=[*RECIPES, *TYPED])
    arguments.add_argument("--others", action="store_true", help="Also families without trained weights.")
    arguments.add_argument("--auto", action="store_true", help="Also what auto chooses by times measured here.")
    arguments.add_argument("--bad", action="store_true", help="Also a recipe that must fail, graph by graph.")
    options = arguments.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    fp32 = exported(trained_checkpoint(), folder / "fp32", "fp32")
    gate_of(folder).ask_before(fp32)
    rows = [typed_row(folder, n) if n in TYPED else recipe_row(folder, fp32, n) for n in options.recipes]
    rows += ungated_rows(folder) if options.others else ()
    content = {
        "environment": measure.environment(),
        "conditions": {
            "model": "trained_tiny", "data_set": CHOICE.told(), "calibration_samples": SAMPLES, "budget": BUDGET,
            "fp8": "emulated: products of floats that were rounded to e4m3", "load": options.load,
        },
        "size_bytes": read_manifest(fp32).size_bytes,
        "rows": rows,
        "auto": auto(folder, fp32) if options.auto else NOT_MEASURED,
        "every graph in 4 bits": failing(folder, fp32) if options.bad else NOT_MEASURED,
    }  # fmt: skip
    print(measure.write_results(RESULT, content))


def exported(checkpoint: Path, target: Path, precision: str) -> Path:
    if not (target / FILE_NAME).is_file():
        with ExportProgress() as progress:
            export_bundle(checkpoint, target, ExportOptions(precision=precision, measure_parity=False), progress)
    return target


def gate_of(folder: Path, choice: Choice = CHOICE) -> Gate:
    return Gate(folder, choice, BUDGET, {"threads": 1}, lambda done, of: None)


def quantised(folder: Path, fp32: Path, name: str, choice: Choice, chosen: dict[str, Any]) -> Manifest:
    """Judged against the one evaluation of the float32 bundle, where the same was asked."""
    target = folder / name
    if (target / FILE_NAME).is_file():
        return read_manifest(target)
    if choice == CHOICE:
        shutil.copytree(folder / BEFORE, gate_folder(target) / BEFORE, dirs_exist_ok=True)
    with ExportProgress() as progress:
        asked = QuantizeOptions(choice, **{"samples": SAMPLES, "budget": BUDGET, "threads": 1, **chosen})
        return quantize_bundle(fp32, target, asked, progress)


def recipe_row(folder: Path, fp32: Path, name: str) -> dict[str, Any]:
    """Raises GateError for one that does not pass: these are meant to."""
    manifest = quantised(folder, fp32, name, CHOICE, {"recipe": name})
    assert manifest.quantization is not None and manifest.quantization.gate is not None
    return {"recipe": name, **made(manifest), **judged(manifest.quantization.gate)}


def typed_row(folder: Path, precision: str) -> dict[str, Any]:
    """A typed bundle judged as a quantised one is."""
    bundle = exported(trained_checkpoint(), folder / precision, precision)
    gate = gate_of(folder).judge(bundle, f"after-{precision}")
    return {"recipe": precision, **made(read_manifest(bundle)), **judged(gate)}


def ungated_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Families without trained weights: random ones of the same widths."""
    trained = read_manifest(folder / "fp32").family
    for family in EXPORT_FAMILIES.values():
        if family.name == trained:
            continue
        checkpoint = folder / f"{family.name}-checkpoint"
        if not checkpoint.is_dir():
            checkpoint.mkdir()
            family.random.write(checkpoint, "tiny", 0)
        fp32 = exported(checkpoint, folder / f"{family.name}-fp32", "fp32")
        for recipe in RECIPES:
            chosen = {"recipe": recipe, "gated": False, "samples": FEW}
            manifest = quantised(folder, fp32, f"{family.name}-{recipe}", AUTO_CHOICE, chosen)
            yield {"recipe": recipe, **made(manifest), "of_bytes": read_manifest(fp32).size_bytes, "gate": NOT_GATED}


def auto(folder: Path, fp32: Path) -> dict[str, Any]:
    """What was chosen by times measured on this machine, and why the rest stays."""
    manifest = quantised(folder, fp32, "auto", AUTO_CHOICE, {"recipe": "auto"})
    entry = manifest.quantization
    assert entry is not None and entry.gate is not None
    times = {graph.spec.name: graph.rounded.time_ratio for graph in manifest.graphs if graph.rounded}
    return {**made(manifest), **judged(entry.gate), "time_ratios": times, "kept": entry.kept}


def failing(folder: Path, fp32: Path) -> list[str]:
    """What the gate says of a recipe that must not pass."""
    try:
        quantised(folder, fp32, "bad", CHOICE, BAD)
    except GateError as error:
        return str(error).splitlines()[1:-1]
    raise SystemExit(f"the gate let {BAD} pass")


def made(manifest: Manifest) -> dict[str, Any]:
    return {
        "family": manifest.family,
        "size_bytes": manifest.size_bytes,
        "graphs": {entry.spec.name: entry.number_format for entry in manifest.graphs},
    }


def judged(gate: GateEntry) -> dict[str, Any]:
    return {"measures": [measure.model_dump(mode="json") for measure in gate.measures], "failures": gate.failures}


def markdown() -> str:
    """The stored results as the tables of docs/quantisation.md."""
    content = json.loads((measure.RESULTS / f"{RESULT}.json").read_text())
    lines = [
        "| | measure | items | before | points lost (95 %) | median IoU to float32's | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        size = f"{row.get('of_bytes', content['size_bytes']) / 1e6:.1f} to {row['size_bytes'] / 1e6:.1f}"
        if "gate" in row:
            lines.append(f"| {row['recipe']}, {row['family']} | {row['gate']}: random weights | | | | | {size} |")
            continue
        title = row["recipe"]
        for one in row["measures"]:
            low, high = one["interval"]
            overlap = "" if one["iou_to_wide"] is None else f"{one['iou_to_wide']:.3f}"
            lines.append(
                f"| {title} | {one['measure']} | {one['items']:,} | {one['before']:.4f} | {one['drop']:.2f} ({low:.2f} "
                f"to {high:.2f}) | {overlap} | {size} |"
            )
            title = size = ""
    return "\n".join(lines)


if __name__ == "__main__":
    main()
