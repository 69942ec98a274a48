"""`hyperseg-trt inspect`: what a bundle holds, every file checked."""

from hyperseg_runtime import console
from hyperseg_runtime.bundle.opening import Bundle, read_manifest
from hyperseg_runtime.cli import options
from hyperseg_runtime.reports.engine_tables import print_all_engines
from hyperseg_runtime.reports.manifest_tables import print_manifest


def inspect(bundle: options.BundleArgument, as_json: options.JsonOption = False) -> None:
    """Verify a bundle's files and show what it holds."""
    with console.byte_progress("checking the bundle", read_manifest(bundle).size_bytes) as on_bytes:
        manifest = Bundle.open(bundle, on_bytes).manifest
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
    else:
        print_manifest(manifest)
        print_all_engines(bundle)
