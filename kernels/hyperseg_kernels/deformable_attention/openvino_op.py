"""The operator for OpenVINO, whose ONNX frontend does not look into the function bodies of other domains (2026.4):
a network of OpenVINO's operators takes the node's place.

Samples are read by its GridSample, for which it has a kernel of its own on x86.
"""

from itertools import accumulate
from typing import Any

import numpy as np
from openvino import opset13 as ops


def deformable_attention(node: Any) -> list[Any]:
    """As `reference.deformable_attention`: from the context of an ONNX node to its outputs, for a ConversionExtension.

    A sample that is not a number counts as zero, as one outside: it is moved one map away, where zeros are read.
    """
    value, locations, weights = (node.get_input(index) for index in range(3))
    heads, channels = (value.get_partial_shape()[axis].get_length() for axis in (2, 3))
    points = locations.get_partial_shape()[4].get_length()
    flat = [int(number) for number in node.get_attribute("level_shapes")]
    shapes = list(zip(flat[::2], flat[1::2], strict=True))
    queries = ops.gather(ops.shape_of(locations), _ints(1), _ints(0))

    def shaped(data: Any, *before: int, after: tuple[int, ...] = ()) -> Any:
        """`data` as (before, Q, after)."""
        return ops.reshape(data, ops.concat([_ints(*before), queries, *map(_ints, after)], 0), special_zero=False)

    maps = ops.transpose(_float32(value), _ints(0, 2, 3, 1))  # (B, H, D, S)
    known = ops.select(ops.is_nan(locations), np.float32(2), locations)
    centred = ops.subtract(ops.multiply(ops.clamp(known, -1.0, 2.0), np.float32(2)), np.float32(1))
    grids = ops.transpose(centred, _ints(3, 0, 2, 1, 4, 5))  # (L, B, H, Q, P, 2)
    shares = ops.transpose(weights, _ints(3, 0, 2, 1, 4))  # (L, B, H, Q, P)
    total = None
    for level, end in enumerate(accumulate(height * width for height, width in shapes)):
        height, width = shapes[level]
        rows = ops.slice(maps, _ints(end - height * width), _ints(end), _ints(1), _ints(3))
        image = ops.reshape(rows, _ints(-1, channels, height, width), special_zero=False)
        grid = shaped(_of_level(grids, level), -1, after=(points, 2))
        share = shaped(_of_level(shares, level), -1, 1, after=(points,))
        samples = ops.grid_sample(image, grid, {"align_corners": False, "mode": "bilinear", "padding_mode": "zeros"})
        sampled = ops.reduce_sum(ops.multiply(samples, share), _ints(3), keep_dims=False)  # (B * H, D, Q)
        total = sampled if total is None else ops.add(total, sampled)
    by_channel = shaped(total, -1, heads * channels)
    return [ops.convert_like(ops.transpose(by_channel, _ints(0, 2, 1)), value).output(0)]


def _of_level(data: Any, level: int) -> Any:
    return ops.gather(data, _ints(level), _ints(0))


def _float32(data: Any) -> Any:
    return ops.convert(data, np.float32)


def _ints(*numbers: int) -> Any:
    return ops.constant(np.array(numbers, np.int64))
