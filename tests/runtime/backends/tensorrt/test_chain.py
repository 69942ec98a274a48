"""Language model and head as one graph: the numbers of both, one launch once it comes again."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.backends.tensorrt import TensorRTBackend
from hyperseg_runtime.errors import HypersegError
from llm_steps import CALLS, new_caches, step

OpenGraph = Callable[[TensorRTBackend, str], Any]


def logits(backend: Any, run: Callable[[dict[str, Any]], Any], graph: Any, calls: list[tuple[int, int]]) -> np.ndarray:
    """Of the last row of one call after the other on the same caches."""
    caches, made = new_caches(backend, graph), []
    for seed, (tokens, first) in enumerate(calls):
        last = backend.upload(np.array([tokens - 1]))
        outputs = run({**step(backend, graph, tokens, first, seed), **caches, "scored_rows": last})
        made.append(outputs["logits"].to_host())
    return np.stack(made)


def by_parts(backend: Any, llm: Any, head: Any) -> Callable[[dict[str, Any]], Any]:
    def run(given: dict[str, Any]) -> Any:
        hidden = llm.run({name: given[name] for name in llm.spec.input_names()})["hidden_states"]
        return head.run({"hidden_states": hidden, "scored_rows": given["scored_rows"]})

    return run


@pytest.fixture
def expected(engine_bundle: Path, backend: TensorRTBackend, open_graph: OpenGraph) -> np.ndarray:
    specs = {name: open_graph(backend, name).spec for name in ("llm", "lm_head")}
    with OnnxRuntimeBackend(threads=1) as reference:
        llm, head = (reference.open(specs[name], engine_bundle / "graphs" / f"{name}.onnx") for name in specs)
        assert reference.chained(llm, head) is None
        return logits(reference, by_parts(reference, llm, head), llm, CALLS)


def test_a_chain_gives_what_its_graphs_give_in_one_launch(
    backend: TensorRTBackend, open_graph: OpenGraph, gpu: ModuleType, expected: np.ndarray
) -> None:
    llm, head = open_graph(backend, "llm"), open_graph(backend, "lm_head")
    chain = backend.chained(llm, head)
    assert chain is not None and "hidden_states" not in (*chain.spec.input_names(), *chain.spec.output_names())
    gpu.GPU.ledger = gpu.Ledger()
    np.testing.assert_array_equal(logits(backend, chain.run, llm, CALLS), expected)
    assert chain.replayed == dataclasses.asdict(gpu.GPU.ledger)["replays"] == 4  # single tokens from the third on


def test_its_graphs_run_alone_between_its_calls(
    backend: TensorRTBackend, open_graph: OpenGraph, expected: np.ndarray
) -> None:
    """Contexts are shared: whoever calls waits for the one before, and takes no recording that is stale."""
    llm, head = open_graph(backend, "llm"), open_graph(backend, "lm_head")
    chain = backend.chained(llm, head)
    assert chain is not None
    ways = [chain.run, by_parts(backend, llm, head)]
    turns = iter(ways * len(CALLS))
    np.testing.assert_array_equal(logits(backend, lambda given: next(turns)(given), llm, CALLS), expected)


def test_a_chain_that_cannot_be_recorded_runs_on(
    backend: TensorRTBackend, open_graph: OpenGraph, monkeypatch: pytest.MonkeyPatch, expected: np.ndarray
) -> None:
    from hyperseg_runtime.backends.tensorrt import chain as module

    def refuse(*arguments: object) -> None:
        raise HypersegError("not permitted")

    monkeypatch.setattr(module, "record", refuse)
    llm = open_graph(backend, "llm")
    chain = backend.chained(llm, open_graph(backend, "lm_head"))
    assert chain is not None
    with pytest.warns(UserWarning, match=r"graphs llm\+lm_head run one by one, slower: not permitted"):
        np.testing.assert_array_equal(logits(backend, chain.run, llm, CALLS), expected)
    assert chain.replayed == 0


def test_graphs_that_wait_for_themselves_are_no_chain(gpu: ModuleType, engine_bundle: Path) -> None:
    from hyperseg_runtime.bundle.opening import Bundle

    bundle = Bundle.read(engine_bundle)
    with TensorRTBackend(bundle, overlap=False) as waiting:
        entries = [bundle.manifest.graph(name) for name in ("llm", "lm_head")]
        graphs = [waiting.open(entry.spec, bundle.path(entry.file)) for entry in entries]
        assert waiting.chained(*graphs) is None
