"""A torch module behind the runtime's graph interface."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hyperseg_export.parity.module_graph import ModuleGraph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.errors import InputError

BACKEND = OnnxRuntimeBackend()


class Both(nn.Module):
    """Inputs in the spec's order; the second output replaces the cache."""

    def forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        return x - cache, cache + x


class Single(nn.Module):
    def forward(self, x: Tensor, cache: Tensor) -> Tensor:
        return x - cache


def spec(*outputs: str, in_place: bool) -> GraphSpec:
    return GraphSpec(
        name="both",
        inputs=tuple(TensorSpec(name=name, dtype=DType.FLOAT32, axes=("n", 2)) for name in ("x", "cache")),
        outputs=tuple(TensorSpec(name=name, dtype=DType.FLOAT32, axes=("n", 2)) for name in outputs),
        axis_ranges={"n": AxisRange(minimum=1, typical=2, maximum=4)},
        reuse=Reuse.TOKEN,
        in_place={"new_cache": "cache"} if in_place else {},
    )


@pytest.mark.parametrize("names", [("x", "cache"), ("cache", "x")])
def test_inputs_are_taken_by_name_and_the_cache_is_overwritten(names: tuple[str, ...]) -> None:
    graph = ModuleGraph(spec("difference", "new_cache", in_place=True), Both(), BACKEND)
    values = {"x": np.full((3, 2), 5, np.float32), "cache": np.ones((3, 2), np.float32)}
    inputs = {name: BACKEND.upload(values[name]) for name in names}
    outputs = graph.run(inputs)
    assert outputs["difference"].to_host().tolist() == [[4, 4]] * 3
    assert outputs["new_cache"] is inputs["cache"]
    assert inputs["cache"].to_host().tolist() == [[6, 6]] * 3
    assert inputs["x"].to_host().tolist() == [[5, 5]] * 3


def test_an_output_that_is_not_in_place_leaves_its_input_alone() -> None:
    graph = ModuleGraph(spec("difference", "new_cache", in_place=False), Both(), BACKEND)
    inputs = {name: BACKEND.upload(np.ones((1, 2), np.float32)) for name in ("x", "cache")}
    outputs = graph.run(inputs)
    assert outputs["new_cache"].to_host().tolist() == [[2, 2]]
    assert inputs["cache"].to_host().tolist() == [[1, 1]]


def test_a_module_with_one_output_gives_one_buffer() -> None:
    graph = ModuleGraph(spec("difference", in_place=False), Single(), BACKEND)
    inputs = {name: BACKEND.upload(np.ones((1, 2), np.float32)) for name in ("x", "cache")}
    assert {name: buffer.to_host().tolist() for name, buffer in graph.run(inputs).items()} == {"difference": [[0, 0]]}


def test_inputs_that_break_the_contract_are_refused() -> None:
    graph = ModuleGraph(spec("difference", in_place=False), Single(), BACKEND)
    wrong = {"x": BACKEND.upload(np.ones((1, 3), np.float32)), "cache": BACKEND.upload(np.ones((1, 2), np.float32))}
    with pytest.raises(InputError, match=r"expected x float32 \(n, 2\), got float32 \(1, 3\)"):
        graph.run(wrong)


def test_an_output_more_or_less_than_the_spec_is_an_error() -> None:
    inputs = {name: BACKEND.upload(np.ones((1, 2), np.float32)) for name in ("x", "cache")}
    with pytest.raises(ValueError, match="zip"):
        ModuleGraph(spec("difference", in_place=False), Both(), BACKEND).run(inputs)


def test_no_gradients_are_kept() -> None:
    seen: list[bool] = []

    class Watching(Single):
        def forward(self, x: Tensor, cache: Tensor) -> Tensor:
            seen.append(torch.is_inference_mode_enabled())
            return super().forward(x, cache)

    graph = ModuleGraph(spec("difference", in_place=False), Watching(), BACKEND)
    graph.run({name: BACKEND.upload(np.ones((1, 2), np.float32)) for name in ("x", "cache")})
    assert seen == [True]
