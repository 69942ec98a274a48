"""Engines of a bundle as tables for people."""

from pathlib import Path

from hyperseg_runtime import console
from hyperseg_runtime.bundle.engines import ENGINES, EngineEntry, EngineManifest, read_engines
from hyperseg_runtime.reports.manifest_tables import megabytes


def print_engines(manifest: EngineManifest) -> None:
    machine = manifest.machine
    console.print_rows(
        f"Engines for {machine.target} ({machine.gpu}, TensorRT {machine.tensorrt})",
        ("graph", "precision", ">size", ">seconds", "layers by output type", "parity"),
        [
            (
                entry.graph,
                entry.precision,
                megabytes(entry.file.size_bytes),
                f"{entry.build_seconds:.1f}",
                ", ".join(f"{count} {kind}" for kind, count in entry.layer_types.items()),
                _parity(entry),
            )
            for entry in manifest.engines
        ],
    )


def print_all_engines(bundle: Path) -> None:
    """A table per machine that engines were built for. Raises BundleError for a damaged list."""
    for folder in sorted((bundle / ENGINES).glob("*")):
        if (manifest := read_engines(folder)) is not None:
            print_engines(manifest)


def _parity(entry: EngineEntry) -> str:
    """The row closest to its tolerance."""
    if not entry.parity:
        return "not measured"
    worst = max(entry.parity, key=lambda row: row.worst_error / row.tolerance)
    return f"{worst.measure} of {worst.output} {worst.worst_error:.1e}, allowed {worst.tolerance:.0e}"
