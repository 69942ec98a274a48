"""Files written one tensor at a time are what the safetensors library reads."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from hyperseg_export.checkpoint.folder import DTYPES
from hyperseg_export.checkpoint.safetensors_file import write_safetensors

SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1)
LAYOUTS = st.dictionaries(NAMES, st.tuples(st.sampled_from(list(DTYPES.values())), SHAPES), max_size=5)


@settings(deadline=None, max_examples=40)
@given(layout=LAYOUTS)
def test_the_library_reads_what_was_written(
    layout: dict[str, tuple[torch.dtype, tuple[int, ...]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("file") / "x.safetensors"
    layout = {name: entry for name, entry in layout.items() if name != "__metadata__"}
    tensors = {name: filled(*entry) for name, entry in layout.items()}
    write_safetensors(path, layout, tensors.__getitem__)
    found = load_file(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}  # without it transformers refuses the file


def test_data_is_aligned_and_in_no_memory_but_its_own(tmp_path: Path) -> None:
    """Tensors are asked for in the order they are written, each once; views are written as they look."""
    layout = {
        "bytes": (torch.uint8, (3,)),
        "half": (torch.float16, (2, 3)),
        "wide": (torch.int64, (2,)),
    }
    asked: list[str] = []

    def value(name: str) -> Tensor:
        asked.append(name)
        dtype, shape = layout[name]
        return filled(dtype, shape[::-1]).t() if len(shape) == 2 else filled(dtype, shape)

    write_safetensors(tmp_path / "x", layout, value)
    assert asked == ["wide", "half", "bytes"]
    assert torch.equal(load_file(tmp_path / "x")["half"], filled(torch.float16, (3, 2)).t())
    assert int.from_bytes((tmp_path / "x").read_bytes()[:8], "little") % 8 == 0


@pytest.mark.parametrize("tensor", [torch.zeros(3), torch.zeros(2, dtype=torch.float16)])
def test_a_tensor_that_is_not_as_announced_is_refused(tmp_path: Path, tensor: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^a is torch\.float"):
        write_safetensors(tmp_path / "x", {"a": (torch.float32, (2,))}, lambda name: tensor)


def filled(dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    count = int(torch.tensor(shape).prod()) if shape else 1
    return (torch.arange(count) % 2 + (dtype != torch.bool)).reshape(shape).to(dtype)
