"""Deformable attention on a GPU: six layers of the full-size pixel encoder against floor and common scheme.

    python benchmarks/kernels/bench_deformable_attention_gpu.py --rounds 200

Rivals are our kernel with given samples, our fused kernel on raw projections, and a baseline in the scheme that
is in common use: one thread per output channel, scalar loads, shapes read from memory. Every layer has tensors of
its own, so the second does not find the first one's in the cache. Six launches are one CUDA graph. Needs a CUDA
build of torch and a GPU; says "not measured" and ends with 0 where there is none.
"""

import ctypes
import statistics
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import measure_gpu

from hyperseg_kernels.cuda import torch_launch
from hyperseg_kernels.cuda.source import ValueType, grid_of
from hyperseg_kernels.deformable_attention import cuda_source
from hyperseg_kernels.deformable_attention.cuda_source import Layer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LAYER = Layer(heads=8, channels=32, points=4, level_shapes=((32, 32), (64, 64), (128, 128)))
LAYERS = 6

# One thread makes one channel of one query and head, as in the op that Deformable DETR published.
BASELINE = """
#include "lane.h"
using namespace hyperseg;
extern "C" __global__ void baseline(
    const {value}* value, const float* locations, const float* weights, const int* shapes, int threads, int queries,
    int heads, int channels, int levels, int points, int rows, {value}* output) {{
  const int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= threads) return;
  const int channel = index % channels, item = index / channels;
  const int head = item % heads, image = item / heads / queries;
  float sum = 0.0f;
  int first_row = 0;
  for (int level = 0; level < levels; ++level) {{
    const int height = shapes[2 * level], width = shapes[2 * level + 1];
    for (int point = 0; point < points; ++point) {{
      const int sample = (item * levels + level) * points + point;
      const Neighbours x = neighbours(locations[2 * sample], width, 0.0f);
      const Neighbours y = neighbours(locations[2 * sample + 1], height, 0.0f);
      if (!x.any_inside || !y.any_inside) continue;
      const Corners found = corners(x, y, height, width);
      for (int corner = 0; corner < 4; ++corner)
        if (found.inside[corner]) {{
          const long long row = (long long)image * rows + first_row + found.row + corner_offset(corner, width);
          sum += weights[sample] * found.weight[corner] * to_float(value[(row * heads + head) * channels + channel]);
        }}
    }}
    first_row += height * width;
  }}
  from_float(sum, output[index]);
}}
"""


def main() -> None:
    settings = {"layers": LAYERS, "batch": 1, "queries": LAYER.rows}
    measure_gpu.main(__doc__, "deformable_attention_gpu", settings, rows_of)


def rows_of(rounds: int, bandwidth: float) -> dict[str, list[dict[str, Any]]]:
    return {"types": [measure_type(value_type, rounds, bandwidth) for value_type in ValueType]}


def measure_type(value_type: ValueType, rounds: int, bandwidth: float) -> dict[str, Any]:
    """Median milliseconds of six layers per rival, the floor, the worst error and whether two runs agree."""
    import torch

    from hyperseg_kernels.deformable_attention import reference, torch_cuda

    dtype = {kind: name for name, kind in torch_launch.VALUE_TYPES.items()}[value_type]
    layers = [random_layer(dtype, seed) for seed in range(LAYERS)]
    rivals: dict[str, Callable[[dict[str, Tensor]], Tensor]] = {
        "given": lambda x: torch_cuda.deformable_attention(x["value"], x["locations"], x["weights"], LAYER),
        "projected": lambda x: torch_cuda.projected_deformable_attention(
            x["value"], x["references"], x["offsets"], x["logits"], LAYER
        ),
        "baseline": baseline(value_type),
    }
    first = layers[0]
    value, locations, weights = (first[name].double() for name in ("value", "locations", "weights"))
    expected = reference.deformable_attention(value, locations, weights, LAYER.level_shapes)
    times: dict[str, float] = {}
    facts: dict[str, Any] = {}
    for name, run in rivals.items():
        found = run(first)
        facts[name] = {
            "worst_error": float((found.double() - expected).abs().max() / expected.abs().max()),
            "same_bits_twice": bool(torch.equal(found, run(first))),
        }
        times[name] = statistics.median(measure_gpu.graph_times_ms(partial(run_all, run, layers), rounds))
    unique = sum(first[name].numel() * first[name].element_size() for name in ("value", "locations", "weights"))
    unique += first["value"].numel() * first["value"].element_size()  # the output
    gathered = 4 * first["weights"].numel() * LAYER.channels * value_type.size_bytes
    return {
        "value_type": value_type,
        "six_layers_ms": {name: round(time, 4) for name, time in times.items()},
        "baseline_over_given": round(times["baseline"] / times["given"], 3),
        "floor_ms": round(LAYERS * unique / bandwidth * 1000, 4),
        "floor_is": f"{unique} bytes per layer, each moved once at the measured speed of a copy",
        "gathered_bytes_per_layer": gathered,
        "gathered_bytes_per_s": LAYERS * gathered / times["given"] * 1000,
        "checks": facts,
    }


def random_layer(dtype: "torch.dtype", seed: int, device: str = "cuda") -> "dict[str, Tensor]":
    """Offsets of about 2 pixels around every token; the given and the projected form of the same samples."""
    import torch

    from hyperseg_export.modules.pixel_decoder import token_centres

    random = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> "Tensor":
        return torch.randn(*shape, generator=random, device=device).to(dtype)

    grid = (LAYER.heads, len(LAYER.level_shapes), LAYER.points)
    offsets, logits = 2 * normal(1, LAYER.rows, *grid, 2), normal(1, LAYER.rows, *grid)
    references = token_centres(LAYER.level_shapes).to(device)[None, :, None]
    sizes = torch.tensor([(width, height) for height, width in LAYER.level_shapes], device=device)[:, None]
    return {
        "value": normal(1, LAYER.rows, LAYER.heads, LAYER.channels),
        "references": references,
        "offsets": offsets,
        "logits": logits,
        "locations": references[:, :, :, None, None] + offsets.float() / sizes,
        "weights": logits.float().flatten(3).softmax(-1).view(logits.shape),
    }


def baseline(value_type: ValueType) -> "Callable[[dict[str, Tensor]], Tensor]":
    import torch

    source = BASELINE.format(value=value_type.cpp)
    kernel = torch_launch.compiled(source, cuda_source.headers(), "baseline", torch.device("cuda", 0))
    shapes = torch.tensor(LAYER.level_shapes, dtype=torch.int32, device="cuda")

    def run(layer: "dict[str, Tensor]") -> "Tensor":
        value = layer["value"]
        output = torch.empty(1, LAYER.rows, LAYER.heads * LAYER.channels, dtype=value.dtype, device="cuda")
        threads = output.numel()
        sizes = (LAYER.rows, LAYER.heads, LAYER.channels, len(LAYER.level_shapes), LAYER.points, LAYER.rows)
        pointers = [value, layer["locations"], layer["weights"], shapes]
        arguments = [
            *(ctypes.c_void_p(tensor.data_ptr()) for tensor in pointers),
            *(ctypes.c_int32(number) for number in (threads, *sizes)),
            ctypes.c_void_p(output.data_ptr()),
        ]
        kernel.launch(grid_of(threads), torch.cuda.current_stream().cuda_stream, arguments)
        return output

    return run


def run_all(run: "Callable[[dict[str, Tensor]], Tensor]", layers: "list[dict[str, Tensor]]") -> "list[Tensor]":
    return [run(layer) for layer in layers]


if __name__ == "__main__":
    main()
