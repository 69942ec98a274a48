"""`hyperseg-trt quantize`: a bundle in 8 and 4 bits, if it still does its task."""

from pathlib import Path
from typing import Annotated

import typer

from hyperseg_export.cli import options
from hyperseg_export.cli.export import pairs
from hyperseg_export.cli.progress import ExportProgress
from hyperseg_runtime import console
from hyperseg_runtime.cli import options as runtime_options
from hyperseg_runtime.reports.manifest_tables import megabytes
from hyperseg_runtime.reports.quantization_tables import print_quantization


def quantize(
    bundle: runtime_options.BundleArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the quantised bundle.")],
    data_set: Annotated[
        str, typer.Option("--data", metavar="DATASET", help="Data set of eval that judges, as shapes.")
    ],
    recipe: Annotated[
        str,
        typer.Option(
            help="int8 (weights and activations), fp8 (Hopper), int4 or int8-weights (weights alone), or auto: the "
            "cheapest mix within the budget."
        ),
    ] = "auto",
    recipe_of: Annotated[
        list[str] | None,
        typer.Option(metavar="GRAPH=RECIPE", help="Another recipe for one graph, or wide (repeatable)."),
    ] = None,
    budget: Annotated[
        float,
        typer.Option(min=0.01, help="Points of the task metric that may be lost; twice that within the 95 % interval."),
    ] = 0.5,
    folder: Annotated[Path | None, typer.Option(help="Folder of the data set's files, as for eval --data.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of it; default: the usual one.")] = None,
    items: Annotated[
        int | None, typer.Option(min=2, help="So many samples judge; default: all but those of calibration.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="So many samples calibrate, other ones than judge.")] = 32,
    calibrate_on: Annotated[
        str | None, typer.Option(metavar="DATASET", help="Calibrate with another data set, made or in --folder.")
    ] = None,
    calibrate_split: Annotated[str | None, typer.Option(help="Calibrate with another part, such as train.")] = None,
    skip_gate: Annotated[
        bool,
        typer.Option("--skip-gate", help="Judge nothing; the bundle says that it is not gated wherever it is shown."),
    ] = False,
    threads: runtime_options.ThreadsOption = None,
    overwrite: options.OverwriteOption = False,
    as_json: runtime_options.JsonOption = False,
) -> None:
    """Round BUNDLE's graphs to 8 or 4 bits and write OUT, if it does its task as well as BUNDLE within the budget.

    Real samples of DATASET calibrate, others judge, item by item; OUT-gate holds every one of them. OUT appears whole
    or not at all, and a killed run goes on when called again.
    """
    verb = console.load_extra("hyperseg_export.quantization.quantize", options.EXTRA)
    where = None if folder is None else str(folder.resolve())
    calibration = None
    if calibrate_on is not None or calibrate_split is not None:
        calibration = verb.Choice(calibrate_on or data_set, where, calibrate_split, None)
    chosen = verb.QuantizeOptions(
        data=verb.Choice(data_set, where, split, items),
        recipe=recipe,
        recipe_of=pairs(recipe_of),
        calibration=calibration,
        samples=samples,
        budget=budget,
        gated=not skip_gate,
        overwrite=overwrite,
        threads=threads,
    )
    with ExportProgress() as progress:
        manifest = verb.quantize_bundle(bundle, out, chosen, progress)
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
        return
    console.out.print(f"bundle  {out} ({megabytes(manifest.size_bytes)})\n", markup=False)
    print_quantization(manifest)
    if not skip_gate:
        console.out.print(f"items   {verb.comparison_page(out)}", markup=False)
