"""Deformable attention on a CPU: the native kernel against the ONNX function bodies, at full size.

    python benchmarks/kernels/bench_deformable_attention.py --rounds 7

One call of the operator, and the whole six-layer pixel encoder. Three rivals run in turn in one process: the native
kernel (`cpu_ops`), the body that exported files carry (`onnx_op`, gathers corners) and a body on GridSample
(`onnx_grid_sample`). Then the encoder with fused nodes, which take raw projections, against the encoder with plain
ones, both on native kernels. `--bodies` compares two bodies alone: the exported one, and the sums in place of products
from which engines are built. Weights and inputs are random; offsets have a standard deviation of about
2 pixels. The last line of output is the path of the JSON file.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from hyperseg_bench import measure
from hyperseg_kernels import cpu_ops
from hyperseg_kernels.deformable_attention import onnx_grid_sample
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

LEVEL_SHAPES = ((32, 32), (64, 64), (128, 128))
HEADS, CHANNELS, POINTS, LAYERS = 8, 32, 4, 6
QUERIES = sum(height * width for height, width in LEVEL_SHAPES)
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--table", action="store_true", help="Print the stored results as a table and stop.")
    parser.add_argument("--bodies", action="store_true", help="Products against sums in the body, one call alone.")
    options = parser.parse_args()
    if options.table:
        print(markdown(json.loads((measure.RESULTS / "deformable_attention.json").read_text())))
        return
    conditions = {
        "rounds": options.rounds,
        "threads": options.threads,
        "batch": 1,
        "precision": "fp32",
        "queries": QUERIES,
        "heads": HEADS,
        "channels_per_head": CHANNELS,
        "points": POINTS,
        "level_shapes": LEVEL_SHAPES,
    }
    if options.bodies:
        content = {"environment": measure.environment(), "conditions": conditions}
        print(measure.write_results("deformable_bodies", content | race_of_bodies(options.rounds, options.threads)))
        return
    subjects = {"operator": operator_model, "pixel_encoder": encoder_model}
    measured = {name: race(make, options.rounds, options.threads) for name, make in subjects.items()}
    measured["fused_form"] = race_of_forms(options.rounds, options.threads)
    content = {"environment": measure.environment(), "conditions": conditions, **measured}
    print(markdown(content))
    print(measure.write_results("deformable_attention", content))


def race(
    make: Callable[[], "tuple[onnx.ModelProto, dict[str, np.ndarray]]"], rounds: int, threads: int
) -> dict[str, Any]:
    """Milliseconds of each rival, ratios to the native kernel, and how far the rivals' results are apart."""
    model, inputs = make()
    sessions = {
        "native": session(model, OnnxRuntimeBackend(threads, [cpu_ops.library()])),
        "gather_body": session(model, OnnxRuntimeBackend(threads)),
        "grid_sample_body": session(with_grid_sample(model), OnnxRuntimeBackend(threads)),
    }
    return compared(sessions, inputs, rounds, truth="gather_body")


def race_of_forms(rounds: int, threads: int) -> dict[str, Any]:
    """The encoder on native kernels, with plain ("native") and with fused nodes."""
    backend = OnnxRuntimeBackend(threads, [cpu_ops.library()])
    plain, inputs = encoder_model()
    fused, _ = encoder_model(fused=True)
    return compared(
        {"native": session(plain, backend), "fused": session(fused, backend)}, inputs, rounds, truth="native"
    )


def race_of_bodies(rounds: int, threads: int) -> dict[str, Any]:
    """One call with the exported body and with sums in place of its products, no native kernel."""
    from hyperseg_export.engine.bodies import sum_products

    model, inputs = operator_model()
    backend = OnnxRuntimeBackend(threads)
    products = session(model, backend)
    sum_products(model)
    rivals = {"products": products, "sums": session(model, backend)}
    found = [np.asarray(one.run(None, inputs)[0]) for one in rivals.values()]
    calls = [lambda rival=one: rival.run(None, inputs) for one in rivals.values()]
    samples = dict(zip(rivals, measure.alternate(calls, rounds), strict=True))
    return {
        "ms": {name: round(statistics.median(seconds) * 1000, 2) for name, seconds in samples.items()},
        "times_products": round(measure.ratio(samples["sums"], samples["products"]), 3),
        "difference": float(np.abs(found[0] - found[1]).max() / np.abs(found[0]).max()),
        "samples_s": samples,
    }


def compared(
    sessions: Mapping[str, ort.InferenceSession], inputs: dict[str, np.ndarray], rounds: int, truth: str
) -> dict[str, Any]:
    results = {name: np.asarray(one.run(None, inputs)[0]) for name, one in sessions.items()}
    largest = float(np.abs(results[truth]).max())
    calls = [lambda rival=one: rival.run(None, inputs) for one in sessions.values()]
    samples = dict(zip(sessions, measure.alternate(calls, rounds), strict=True))
    return {
        "ms": {name: round(statistics.median(seconds) * 1000, 2) for name, seconds in samples.items()},
        "times_native": {name: round(measure.ratio(samples[name], samples["native"]), 3) for name in sessions},
        "difference": {name: float(np.abs(results[name] - results[truth]).max()) / largest for name in sessions},
        "samples_s": samples,
    }


def session(model: "onnx.ModelProto", backend: OnnxRuntimeBackend) -> ort.InferenceSession:
    """A session with the options that the runtime uses."""
    return ort.InferenceSession(
        model.SerializeToString(), backend.session_options(), providers=["CPUExecutionProvider"]
    )


def with_grid_sample(model: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    from hyperseg_export.onnx.writer import OPSET

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.functions[0].CopyFrom(onnx_grid_sample.function_body(len(LEVEL_SHAPES), OPSET))
    return changed


def operator_model() -> "tuple[onnx.ModelProto, dict[str, np.ndarray]]":
    """One node; locations around the centre of each token."""
    import torch
    from torch import nn

    from hyperseg_export.modules.pixel_decoder import token_centres
    from hyperseg_kernels.deformable_attention.torch_op import deformable_attention

    class Operator(nn.Module):
        def forward(self, value: "Tensor", locations: "Tensor", weights: "Tensor") -> "Tensor":
            made: Tensor = deformable_attention(value, locations, weights, [size for s in LEVEL_SHAPES for size in s])
            return made

    samples = (HEADS, len(LEVEL_SHAPES), POINTS)
    random = np.random.default_rng(SEED)
    sizes = np.array([(width, height) for height, width in LEVEL_SHAPES], np.float32)[:, None]
    offsets = 2 * random.standard_normal((1, QUERIES, *samples, 2), np.float32)
    weights = random.random((1, QUERIES, *samples), np.float32)
    inputs = {
        "value": random.standard_normal((1, QUERIES, HEADS, CHANNELS), np.float32),
        "locations": token_centres(LEVEL_SHAPES).numpy()[None, :, None, None, None] + offsets / sizes,
        "weights": weights / weights.sum((3, 4), keepdims=True),
    }
    with torch.device("meta"):
        return exported(Operator(), inputs), inputs


def encoder_model(fused: bool = False) -> "tuple[onnx.ModelProto, dict[str, np.ndarray]]":
    """The transformer of the pixel decoder with random weights; in the fused form with one node for locations, softmax
    and sampling."""
    import torch
    from torch import nn

    from hyperseg_export.modules.pixel_decoder import DeformableSelfAttention, PixelDecoderConfig, PixelEncoderLayer
    from hyperseg_kernels.deformable_attention.torch_op import projected_deformable_attention

    width = HEADS * CHANNELS
    config = PixelDecoderConfig(width, HEADS, POINTS, LAYERS, 4 * width, (), 0)

    class FusedSelfAttention(DeformableSelfAttention):
        def forward(self, x: "Tensor", positions: "Tensor") -> "Tensor":
            query, grid = x + positions, (HEADS, len(LEVEL_SHAPES), POINTS)
            offsets, logits = self.offsets(query).unflatten(-1, (*grid, 2)), self.weights(query).unflatten(-1, grid)
            references = self.get_buffer("reference_points")[None, :, None]
            value = self.value(x).unflatten(-1, (HEADS, -1))
            made: Tensor = self.out(
                projected_deformable_attention(value, references, offsets, logits, self.sampling.flat_shapes)
            )
            return made

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(PixelEncoderLayer(config, LEVEL_SHAPES) for _ in range(LAYERS))
            for layer in self.layers if fused else ():
                layer.attention = FusedSelfAttention(config, LEVEL_SHAPES)

        def forward(self, tokens: "Tensor", positions: "Tensor") -> "Tensor":
            for layer in self.layers:
                tokens = layer(tokens, positions)
            return tokens

    random = np.random.default_rng(SEED)
    inputs = {name: random.standard_normal((1, QUERIES, width), np.float32) for name in ("tokens", "positions")}
    with torch.device("meta"):
        return exported(Encoder(), inputs), inputs


def exported(module: "nn.Module", inputs: Mapping[str, np.ndarray]) -> "onnx.ModelProto":
    """The graph of a module on the meta device; parameters are random, tables are computed."""
    import onnx_ir as ir
    import torch

    from hyperseg_export.modules.constants import constants_of
    from hyperseg_export.onnx.writer import export_graph
    from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec

    def tensor(name: str, *axes: int | str) -> TensorSpec:
        return TensorSpec(name=name, dtype=DType.FLOAT32, axes=axes)

    spec = GraphSpec(
        name="subject",
        inputs=tuple(tensor(name, "batch", *array.shape[1:]) for name, array in inputs.items()),
        outputs=(tensor("output", "batch", QUERIES, HEADS * CHANNELS),),
        axis_ranges={"batch": AxisRange(minimum=1, typical=1, maximum=4)},
        reuse=Reuse.IMAGE,
    )
    random = torch.Generator().manual_seed(SEED)
    constants = constants_of(module)
    with torch.device("cpu"):
        values = {
            name: 0.1 * torch.randn(parameter.shape, generator=random) for name, parameter in module.named_parameters()
        }
        values |= {name: make() for name, make in constants.items()}
        return ir.serde.serialize_model(export_graph(module, spec, values))


def markdown(content: dict[str, Any]) -> str:
    """The table that kernels/README.md shows."""
    titles = {"native": "native kernel", "gather_body": "body of exported files", "grid_sample_body": "GridSample body"}
    lines = ["| | one call ms | times native | six-layer encoder ms | times native |", "|---|---|---|---|---|"]
    for name, title in titles.items():
        cells = [
            f"{content[subject]['ms'][name]:,.1f} | {content[subject]['times_native'][name]:.2f}"
            for subject in ("operator", "pixel_encoder")
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    fused = content["fused_form"]
    lines.append(
        f"| native kernel, fused nodes | - | - | {fused['ms']['fused']:,.1f} | {fused['times_native']['fused']:.2f} |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
