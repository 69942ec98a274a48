"""Writing a safetensors file one tensor at a time; the safetensors library wants them all in memory."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperseg_export.checkpoint.folder import DTYPES
from hyperseg_runtime.files.writing import fsync_file

NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_safetensors(
    path: Path, layout: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], value: Callable[[str], Tensor]
) -> None:
    """Write tensors of these dtypes and shapes; `value(name)` is asked for each when its turn comes.

    Raises ValueError if a tensor is not what `layout` says.
    """
    # Wide types first: with a padded header every tensor is then aligned to its type.
    names = sorted(layout, key=lambda name: (-layout[name][0].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        dtype, shape = layout[name]
        start, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tensor = value(name)
            if (tensor.dtype, tuple(tensor.shape)) != layout[name]:
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, expected {layout[name]}")
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        fsync_file(file)
