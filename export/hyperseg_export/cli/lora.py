"""`hyperseg-trt lora`: the adapter of a bundle, and merging one into a checkpoint."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hyperseg_export.cli.progress import ExportProgress
from hyperseg_runtime import console
from hyperseg_runtime.bundle.manifest import AdapterEntry, Manifest, kind_of
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.cli import options as cli
from hyperseg_runtime.reports.manifest_tables import adapter_line, print_parity

EXTRA = "export"

app = typer.Typer(no_args_is_help=True, help="LoRA adapters: show or swap a bundle's, merge one into a checkpoint.")


@app.command("list")
def list_slots(bundle: cli.BundleArgument, as_json: cli.JsonOption = False) -> None:
    """Show which adapter BUNDLE holds and what it has room for."""
    manifest = read_manifest(bundle)
    if as_json:
        console.print_json(_facts(manifest))
    else:
        _print_slots(manifest)


@app.command()
def swap(
    bundle: cli.BundleArgument,
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Folder of a peft LoRA adapter.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint the bundle was made from, to measure parity with the new adapter.")
    ] = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Put ADAPTER into BUNDLE, which was exported with --keep-adapter; the weights stay as they are.

    BUNDLE is the old or the new one at every instant.
    """
    swaps = console.load_extra("hyperseg_export.adapters.swap", EXTRA)
    with ExportProgress() as progress:
        manifest = swaps.swap_adapter(bundle, adapter, checkpoint, progress)
    if as_json:
        parity = None if manifest.parity is None else [entry.model_dump() for entry in manifest.parity]
        console.print_json({**_facts(manifest), "parity": parity})
        return
    _print_slots(manifest)
    print_parity(manifest)


@app.command()
def merge(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Folder with config.json and safetensors.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the merged checkpoint to.")],
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of a peft LoRA adapter; by default one in CHECKPOINT is found.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    as_json: cli.JsonOption = False,
) -> None:
    """Write a plain checkpoint to OUT: CHECKPOINT with its adapter merged into the weights.

    Weights keep their dtype; what rounding costs is shown. OUT appears whole or not at all.
    """
    merges = console.load_extra("hyperseg_export.checkpoint.merge", EXTRA)
    with ExportProgress() as progress:
        rows = merges.merge_checkpoint(checkpoint, out, adapter, overwrite, progress)
    if as_json:
        console.print_json({"merged": [vars(row) for row in rows]})
        return
    console.out.print(f"checkpoint  {out}\n", markup=False)
    console.print_rows(
        "Merged weights, as stored against float32",
        ("weight", ">rank", "dtype", ">error / range"),
        [(row.weight, row.rank, row.dtype, f"{row.worst_error:.1e}") for row in rows],
    )


def _facts(manifest: Manifest) -> dict[str, Any]:
    entry = manifest.adapter
    return {
        "adapter_sha256": manifest.provenance.adapter_sha256,
        "adapter": None if entry is None else entry.model_dump(mode="json"),
    }


def _print_slots(manifest: Manifest) -> None:
    entry = manifest.adapter
    console.out.print(adapter_line(manifest), markup=False)
    if entry is not None:
        console.out.print()
        console.print_rows(
            f"Slots in graph {entry.graph}",
            ("weight", ">layers", ">in", ">out", ">rank", ">room for rank"),
            _rows(entry),
        )


def _rows(entry: AdapterEntry) -> list[tuple[object, ...]]:
    """One row for the slots of one kind in all layers."""
    inputs = {factor.name: factor.shape[0] for factor in entry.factors}
    rows: dict[str, list[Any]] = {}
    for slot in entry.slots:
        outputs = slot.outputs[1] - slot.outputs[0]
        row = rows.setdefault(kind_of(slot.weight), [0, inputs[slot.down], outputs, 0, slot.capacity])
        row[0] += 1
        row[3] = max(row[3], slot.rank)
    return [(name, *row) for name, row in rows.items()]
