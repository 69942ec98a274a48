"""Typed graphs on a GPU without TensorRT: the modules they are exported from, in the same types, through PyTorch.

    python benchmarks/graphs/typed_graphs.py

Published widths, random weights, 2 of 32 layers of the language model. Graphs are chained: each takes what the
float32 graphs before it made, so that values have the sizes they have in use. Every graph in every precision is
compared with itself in float32: cosine distance per output, for mask logits also 1 - IoU of the masks. Random
weights put many logits near zero, so the masks are a hard case. Says "not measured" and ends with 0 where there is
no GPU. `--device cpu` computes in the same types on a processor: another machine's rounding, and slow.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from bench_graphs import SEED, example_inputs

from hyperseg_bench import measure
from hyperseg_export.families.family import RANDOM_SIZES
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.families import FAMILIES

if TYPE_CHECKING:
    from torch import nn

    from hyperseg_export.model import SourceModel

Arrays = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, default=next(iter(FAMILIES)))
    parser.add_argument("--size", choices=RANDOM_SIZES, default="full")
    parser.add_argument("--graphs", nargs="+", default=[], help="Names of graphs; default: all.")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    missing = what_is_missing(options.device)
    if missing:
        print(f"not measured: {missing}")
        return
    from hyperseg_export.families.registry import EXPORT_FAMILIES

    rows, family = [], EXPORT_FAMILIES[options.family]
    for row in compare(family.random.model(options.size, SEED), options.device, options.graphs):
        print(line(row), flush=True)
        rows.append(row)
    content = {
        "environment": measure.environment() | {"gpu": device_name(options.device)},
        "conditions": {
            "family": options.family,
            "size": options.size,
            "weights": "random",
            "notes": family.random.notes,
        },
        "rows": rows,
    }
    if options.size == "full":
        print(measure.write_results(f"typed_graphs_{options.device}", content))


def what_is_missing(device: str) -> str:
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    usable = device != "cuda" or torch.cuda.is_available()
    return "" if usable else "no GPU, or torch is built without CUDA"


def device_name(device: str) -> str:
    import torch

    return str(torch.cuda.get_device_name()) if device == "cuda" else "none used"


def compare(model: "SourceModel", device: str, graphs: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """One row per output and measure, graph after graph. A graph left out leaves random inputs to those after it;
    one that stays float32 in every preset has nothing to compare.
    """
    from hyperseg_export.families.registry import EXPORT_FAMILIES
    from hyperseg_export.parity.entries import compare_graph
    from hyperseg_export.precision.typed import choose_precisions, typed_model

    made: Arrays = {}
    tolerances = EXPORT_FAMILIES[model.family].tolerances
    for spec in (spec for spec in model.specs if not spec.exact and (not graphs or spec.name in graphs)):
        inputs = {name: chained(made.get(name), array) for name, array in example_inputs(spec).items()}
        expected = run(model, spec.name, inputs, device)
        made |= expected
        for precision in (Precision.FP16, Precision.BF16):
            typed = typed_model(model, choose_precisions(model.specs, Precision.FP32, {spec.name: precision}))
            found = run(typed, spec.name, inputs, device)
            for entry in compare_graph(spec.name, precision, found, expected, "torch", tolerances):
                yield {"precision": precision.value, **entry.model_dump(mode="json")}


def chained(made: np.ndarray | None, example: np.ndarray) -> np.ndarray:
    """What an earlier graph made, where it fits."""
    return made if made is not None and made.shape == example.shape else example


def run(model: "SourceModel", graph: str, inputs: Arrays, device: str) -> Arrays:
    """Outputs of a graph's module in float32, computed in the types of its contract."""
    import torch

    from hyperseg_export.onnx.writer import TORCH_DTYPES
    from hyperseg_export.parity.bundle import module_of

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    module: nn.Module = module_of(model, graph).to(device)
    spec = model.spec(graph)
    tensors = [torch.from_numpy(inputs[t.name]).to(device, TORCH_DTYPES[t.dtype]) for t in spec.inputs]
    with torch.inference_mode():
        outputs = module(*tensors)
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return {name: tensor.float().cpu().numpy() for name, tensor in zip(spec.output_names(), outputs, strict=True)}


def line(row: dict[str, Any]) -> str:
    verdict = "passed" if row["passed"] else "FAILED"
    head = f"{row['graph']:14} {row['precision']} {row['output']:20} {row['measure']:15}"
    return f"{head} {row['worst_error']:.1e}, allowed {row['tolerance']:.0e}, {verdict}"


if __name__ == "__main__":
    main()
