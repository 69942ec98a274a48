"""One graph of a bundle rounded by its recipe, as files of its own."""

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from hyperseg_export.onnx.lint import check_graph
from hyperseg_export.onnx.weight_store import WeightStore
from hyperseg_export.onnx.writer import save_graph
from hyperseg_export.quantization.layers import layers_of, skipped
from hyperseg_export.quantization.magnitudes import Magnitudes
from hyperseg_export.quantization.qdq import LayerRecipe, products, quantise
from hyperseg_export.quantization.ranges import range_of
from hyperseg_export.quantization.recipes import GraphRecipe
from hyperseg_export.quantization.smoothing import smooth
from hyperseg_runtime.bundle.manifest import GraphEntry
from hyperseg_runtime.bundle.quantization import RoundedEntry
from hyperseg_runtime.contracts.quantization import Scheme


def rewrite(
    source: Path, entry: GraphEntry, recipe: GraphRecipe, observed: Mapping[str, Magnitudes], target: Path, label: str
) -> GraphEntry | None:
    """Write `entry`'s graph of the bundle folder `source` into `target`, next to other forms of it; `label` tells them
    apart. None where no layer can be rounded.

    Weights are read and written one at a time. The files hold all weights of the graph, so none of the source's are
    needed. Raises ExportError where the graph fails its lint.
    """
    model = ir.load(source / entry.file)
    ranges = {name: range_of(found, recipe.method) for name, found in observed.items()}
    smoothed: Mapping[str, float] = {}
    if recipe.smooth and recipe.scheme.has_ranges:
        untouched = frozenset(name for name, _ in skipped(layers_of(model), recipe.skip))
        smoothed = smooth(model, observed, untouched)
    done = quantise(model, LayerRecipe(recipe.scheme, recipe.block, recipe.skip), {**ranges, **smoothed})
    if not done.layers:
        return None
    path = target / entry.file
    path = path.with_name(f"{path.stem}.{label}.onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    with WeightStore(path.parent, {}).open(f"{path.stem}.data") as weights:
        save_graph(model, path, weights)
    check_graph(path, entry.spec, for_tensorrt=recipe.scheme is not Scheme.INT8_DYNAMIC)  # build refuses those
    folder = Path(entry.file).parent
    rounded = RoundedEntry(
        scheme=recipe.scheme,
        range_method=str(recipe.method) if recipe.scheme.has_ranges else None,
        smoothed=len(smoothed),
        block=recipe.block if recipe.scheme.weights_alone else None,
        products=products(ir.load(path)),
        left_wide=dict(done.left_wide),
    )
    return entry.model_copy(
        update={
            "file": (folder / path.name).as_posix(),
            "data_files": tuple((folder / file).as_posix() for file in sorted(weights.files)),
            "rounded": rounded,
        }
    )
