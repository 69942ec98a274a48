"""One engine: profiles, recorded calls, caches, errors."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.backends.tensorrt import TensorRTBackend
from hyperseg_runtime.bundle.opening import Bundle, read_manifest
from hyperseg_runtime.errors import HypersegError, InputError, ResourceError
from llm_steps import CALLS, new_caches, read, scored, step

Opened = Any
OpenGraph = Callable[[TensorRTBackend, str], Opened]


def test_recorded_calls_give_what_onnx_runtime_gives(
    backend: TensorRTBackend, open_graph: OpenGraph, engine_bundle: Path, gpu: ModuleType
) -> None:
    graph = open_graph(backend, "llm")
    found = read(backend, graph, CALLS)
    with OnnxRuntimeBackend(threads=1) as reference:
        expected = read(reference, reference.open(graph.spec, engine_bundle / "graphs" / "llm.onnx"), CALLS)
    for made, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(made, wanted)
    assert graph.replayed == gpu.GPU.ledger.replays == 4  # single tokens: as it is, recorded, then replayed


def test_other_caches_are_recorded_anew(backend: TensorRTBackend, open_graph: OpenGraph) -> None:
    graph = open_graph(backend, "llm")
    first, second = new_caches(backend, graph), new_caches(backend, graph)
    results = {}
    assert not first["past_key.0"].to_host().any()
    for caches in (first, second):
        for _ in range(3):
            inputs = step(backend, graph, 1, 0, seed=0 if caches is first else 1)
            results[id(caches)] = graph.run({**inputs, **caches})["hidden_states"].to_host()
    assert graph.replayed == 2 and not np.array_equal(*results.values())
    assert first["past_key.0"].to_host().any()  # what was read before the call is not what there is now
    assert not np.array_equal(first["past_key.0"].to_host(), second["past_key.0"].to_host())


def test_other_shapes_end_recordings(backend: TensorRTBackend, open_graph: OpenGraph, engine_bundle: Path) -> None:
    """Suffixes of one length are recorded; what the context knows of their shapes goes with the next length."""
    graph = open_graph(backend, "llm")
    calls = [(3, 0), (3, 3), (3, 6), (4, 9), (3, 13), (3, 16), (3, 19)]
    found = read(backend, graph, calls)
    with OnnxRuntimeBackend(threads=1) as reference:
        expected = read(reference, reference.open(graph.spec, engine_bundle / "graphs" / "llm.onnx"), calls)
    for made, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(made, wanted)
    assert graph.replayed == 2


def test_a_replay_does_not_overwrite_earlier_results(backend: TensorRTBackend, open_graph: OpenGraph) -> None:
    graph = open_graph(backend, "lm_head")
    width = graph.spec.inputs[0].axes[2]
    inputs = [np.full((1, 1, width), value, np.float32) for value in range(6)]
    outputs = [graph.run(scored(backend, array))["logits"] for array in inputs]
    assert graph.replayed == 4
    values = [output.to_host()[0, 0] for output in outputs]
    np.testing.assert_allclose(values, np.arange(6) * values[1], rtol=1e-5)


def test_recordings_are_bounded_and_can_be_left_out(
    gpu: ModuleType, engine_bundle: Path, open_graph: OpenGraph
) -> None:
    with TensorRTBackend(Bundle.read(engine_bundle), recordings=1) as backend:
        graph = open_graph(backend, "llm")
        known = [new_caches(backend, graph) for _ in range(2)]
        for caches in (*known, *known):
            for _ in range(3):
                graph.run({**step(backend, graph, 1, 0, 0), **caches})
        assert graph.replayed == 6  # 8 if both recordings were kept
    with TensorRTBackend(Bundle.read(engine_bundle), recordings=0) as backend:
        graph = open_graph(backend, "lm_head")
        for _ in range(4):
            graph.run(scored(backend, np.zeros((1, 1, graph.spec.inputs[0].axes[2]), np.float32)))
        assert graph.replayed == 0


def test_memory_that_went_back_ends_recordings(backend: TensorRTBackend, open_graph: OpenGraph) -> None:
    graph = open_graph(backend, "lm_head")
    array = np.ones((1, 1, graph.spec.inputs[0].axes[2]), np.float32)
    for _ in range(3):
        graph.run(scored(backend, array))
    backend._device.memory.trim()
    graph.run(scored(backend, array))
    assert graph.replayed == 1


def test_the_narrowest_profile_is_used(backend: TensorRTBackend, open_graph: OpenGraph) -> None:
    graph = open_graph(backend, "llm")
    used = []
    for tokens in (1, 4, 300):
        read(backend, graph, [(tokens, 0)])
        used.append(set(graph._contexts) - set().union(*used))
    assert used == [{2}, {1}, {0}]  # decode, suffix, prefill


def test_a_call_beyond_the_profiles_says_what_to_build(backend: TensorRTBackend, open_graph: OpenGraph) -> None:
    graph = open_graph(backend, "lm_head")
    with pytest.raises(InputError, match=r"hidden_states \(2, 1, \d+\) is outside .*\n(.*\n)*.*--profile throughput"):
        graph.run(scored(backend, np.zeros((2, 1, graph.spec.inputs[0].axes[2]), np.float32)))


def test_buffers_of_another_backend_are_refused(backend: TensorRTBackend, open_graph: OpenGraph) -> None:
    graph = open_graph(backend, "lm_head")
    foreign = scored(OnnxRuntimeBackend(), np.zeros((1, 1, graph.spec.inputs[0].axes[2]), np.float32))
    with pytest.raises(InputError, match="graph lm_head: hidden_states is not a buffer of this backend"):
        graph.run(foreign)


def test_no_memory_to_run_an_engine(
    backend: TensorRTBackend, open_graph: OpenGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = open_graph(backend, "lm_head")
    given = scored(backend, np.zeros((1, 1, graph.spec.inputs[0].axes[2]), np.float32))
    monkeypatch.setenv("DOUBLE_FAULT", "no memory for contexts")
    with pytest.raises(ResourceError, match=r"graph lm_head: no memory to run its engine; close sessions"):
        graph.run(given)


def test_a_gpu_that_failed_is_not_asked_again(backend: TensorRTBackend, open_graph: OpenGraph, gpu: ModuleType) -> None:
    graph = open_graph(backend, "lm_head")
    given = scored(backend, np.zeros((1, 1, graph.spec.inputs[0].axes[2]), np.float32))
    gpu.GPU.failed = gpu.ILLEGAL_ADDRESS
    with pytest.raises(HypersegError, match="status 700: an illegal memory access"):
        graph.run(given)
    gpu.GPU.failed = 0


def test_a_call_that_cannot_be_recorded_runs_on(
    backend: TensorRTBackend, open_graph: OpenGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hyperseg_runtime.backends.tensorrt import graph as module

    def refuse(*arguments: object) -> None:
        raise HypersegError("not permitted")

    monkeypatch.setattr(module, "record", refuse)
    graph = open_graph(backend, "lm_head")
    array = np.ones((1, 1, graph.spec.inputs[0].axes[2]), np.float32)
    graph.run(scored(backend, array))
    with pytest.warns(UserWarning, match="graph lm_head runs without CUDA graphs, slower: not permitted"):
        graph.run(scored(backend, array))
    assert np.isfinite(graph.run(scored(backend, array))["logits"].to_host()).all()


def test_a_call_is_answered_where_memory_for_its_recording_lacks(
    backend: TensorRTBackend, open_graph: OpenGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = open_graph(backend, "lm_head")
    given = scored(backend, np.ones((1, 1, graph.spec.inputs[0].axes[2]), np.float32))
    graph.run(given)
    empty, taken = backend._device.empty, 0

    def scarce(*arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken > 1:  # the call's own output is the first
            raise ResourceError("GPU memory ran out")
        return empty(*arguments)

    monkeypatch.setattr(backend._device, "empty", scarce)
    with pytest.warns(UserWarning, match="runs without CUDA graphs, slower: GPU memory ran out"):
        outputs = graph.run(given)
    assert np.isfinite(outputs["logits"].to_host()).all()


def test_every_input_of_the_contract_is_checked(backend: TensorRTBackend, open_graph: OpenGraph) -> None:
    with pytest.raises(InputError, match=r"graph lm_head cannot run:\n  .*hidden.* is missing"):
        open_graph(backend, "lm_head").run({})


def test_the_bundle_has_what_the_tests_assume(engine_bundle: Path) -> None:
    spec = read_manifest(engine_bundle).graph("llm").spec
    assert spec.axis_ranges["tokens"].maximum >= 300 and spec.axis_ranges["batch"].maximum > 1
