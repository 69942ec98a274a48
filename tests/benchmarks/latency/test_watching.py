"""Watched calls: their sizes, what they were handed, and the path that decides how long a request takes."""

from pathlib import Path

import numpy as np

from hyperseg_bench.latency.watching import Call, WatchedBackend, critical_path
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.session.pipeline import Pipeline


def call(graph: str, ms: float, *needs: int) -> Call:
    return Call(graph, {}, 0.0, ms, ms, needs)


def test_the_critical_path_is_the_longest_chain() -> None:
    calls = [call("a", 3), call("b", 5), call("c", 1, 0), call("d", 2, 1), call("e", 4, 2, 3)]
    assert critical_path(calls) == (1, 3, 4)
    assert critical_path([]) == ()


def test_a_request_is_watched_as_it_is(tiny_bundle: Path, coffee: Path) -> None:
    bundle = Bundle.read(tiny_bundle)
    watch = WatchedBackend(OnnxRuntimeBackend(1))
    with Pipeline(bundle, watch, cache_bytes=0) as watched, Pipeline.load(tiny_bundle, threads=1) as plain:
        with watched.open(coffee) as session:
            found = session.segment("the cup")
            first = watch.calls
            watch.begin()
            session.segment("the table")
        assert np.array_equal(found.mask, plain(coffee, "the cup").mask)
    assert {one.graph for one in watch.calls} < {one.graph for one in first}  # the image's graphs ran once
    names = [one.graph for one in first]
    decoder = first[names.index("mask_decoder")]
    assert {names[needed] for needed in decoder.needs} == {"pixel_decoder", "llm"}
    assert first[names.index("llm")].sizes["tokens"] > watch.calls[0].sizes["tokens"] > 0
    assert all(one.ms >= one.enqueue_ms > 0 for one in first) and not watch.overlaps


class _Overlapping(OnnxRuntimeBackend):
    """Graphs that can be waited for, as those of devices."""

    waits = 0

    def open(self, spec, path):
        graph = super().open(spec, path)
        graph.wait = self.wait
        return graph

    def wait(self) -> None:
        self.waits += 1


def test_calls_are_waited_for_where_asked(tiny_bundle: Path, coffee: Path) -> None:
    backend = _Overlapping(1)
    watch = WatchedBackend(backend)
    with Pipeline(Bundle.read(tiny_bundle), watch, cache_bytes=0) as pipeline:
        pipeline(coffee, "the cup")
        assert watch.overlaps and backend.waits == 0
        with watch.waiting():
            watch.begin()
            pipeline(coffee, "the cup")
        assert backend.waits == len(watch.calls) > 0
