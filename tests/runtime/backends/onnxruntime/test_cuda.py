"""ONNX Runtime on the double's GPU: where memory lies, what waits for what, and what is said when CUDA is not there."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime import importable
from hyperseg_runtime.backends.by_name import make_backend
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend, cuda, session
from hyperseg_runtime.backends.onnxruntime.cuda import OnnxRuntimeCudaBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import EnvironmentMissingError, InputError, ResourceError
from hyperseg_runtime.session.pipeline import OpenedGraphs, Pipeline
from llm_steps import CALLS, new_caches, read, scored, step
from support import RunCli

TEXTS = ["the cup", "a spoon on the saucer"]


@pytest.fixture
def library(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """onnxruntime-gpu's double in place of the library."""
    import double_onnxruntime

    for module in (cuda, session):
        monkeypatch.setattr(module, "ort", double_onnxruntime)
    return double_onnxruntime


@pytest.fixture
def on_gpu(library: ModuleType) -> Iterator[OnnxRuntimeCudaBackend]:
    with OnnxRuntimeCudaBackend() as opened:
        yield opened


def opened(bundle: Bundle, backend: OnnxRuntimeCudaBackend, name: str) -> Any:
    return OpenedGraphs(bundle, backend)[name]


def test_caches_stay_and_numbers_are_those_of_the_cpu(
    on_gpu: OnnxRuntimeCudaBackend, library: ModuleType, bundle: Bundle
) -> None:
    graph = opened(bundle, on_gpu, "llm")
    found = read(on_gpu, graph, CALLS)
    with OnnxRuntimeBackend(threads=1) as reference:
        expected = read(reference, OpenedGraphs(bundle, reference)["llm"], CALLS)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert not library.waited


def test_requests_give_what_the_cpu_gives(
    library: ModuleType, tiny_bundle: Path, pipeline: Pipeline, coffee: Path
) -> None:
    with (
        Pipeline.load(tiny_bundle, "onnxruntime-cuda") as on_gpu,
        on_gpu.open(coffee) as ours,
        pipeline.open(coffee) as theirs,
    ):
        for made, wanted in zip(ours.segment_many(TEXTS), theirs.segment_many(TEXTS), strict=True):
            assert np.array_equal(made.masks, wanted.masks) and np.abs(made.scores - wanted.scores).max() <= 1e-6
        answers = [asked.ask("What is on the table?", max_tokens=3).finished() for asked in (ours, theirs)]
    assert answers[0].token_ids == answers[1].token_ids


def test_the_command_names_the_backend(
    library: ModuleType, run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path
) -> None:
    result = run_cli(
        "run", tiny_bundle, coffee, TEXTS[0], "--backend", cuda.OnnxRuntimeCudaBackend.name, "--out", tmp_path
    )
    assert result.code == 0, result.err


def test_nothing_between_two_graphs_is_copied_to_the_host(
    on_gpu: OnnxRuntimeCudaBackend, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = OpenedGraphs(bundle, on_gpu)
    spec = graphs["image_encoder"].spec
    images = on_gpu.zeros(spec.inputs[0], {"batch": 1})
    cudart, kinds = on_gpu._device.cudart, []
    copy = cudart.cudaMemcpyAsync
    monkeypatch.setattr(cudart, "cudaMemcpyAsync", lambda *args: kinds.append(args[3]) or copy(*args))
    maps = graphs["image_encoder"].run({"images": images})
    decoded = graphs["pixel_decoder"].run({name: maps[name] for name in ("res2", "res3", "res4", "res5")})
    assert not kinds
    assert all(np.isfinite(buffer.to_host()).all() for buffer in decoded.values())
    assert kinds == [cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost] * len(decoded)


def test_graphs_run_in_streams_of_their_own(on_gpu: OnnxRuntimeCudaBackend, bundle: Bundle, gpu: ModuleType) -> None:
    """A call only puts work into its stream: two graphs wait side by side."""
    graphs = OpenedGraphs(bundle, on_gpu)
    for name in ("image_encoder", "clip_encoder"):
        spec = graphs[name].spec
        graphs[name].run({spec.inputs[0].name: on_gpu.zeros(spec.inputs[0], {"batch": 1})})
    busy = [stream for stream in gpu.GPU.handles.values() if isinstance(stream, gpu.Stream) and stream.pending]
    assert len(busy) == 3  # and the one that fills with zeros


def test_without_the_stream_the_double_gives_other_numbers(
    on_gpu: OnnxRuntimeCudaBackend, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What orders the work is the stream that the session is told."""
    monkeypatch.setattr(cuda, "_providers", lambda stream: [(cuda.CUDA, {}), cuda.CPU])
    graph = opened(bundle, on_gpu, "lm_head")
    outputs = graph.run(scored(on_gpu, np.ones((1, 1, 80), np.float32)))
    assert not np.isfinite(outputs["logits"].to_host()).all()


def test_memory_of_the_host_is_no_memory_of_the_gpu(
    on_gpu: OnnxRuntimeCudaBackend, library: ModuleType, bundle: Bundle
) -> None:
    graph = opened(bundle, on_gpu, "lm_head")
    host = np.ones((1, 1, 80), np.float32)
    with pytest.raises(library.HostCopyError, match="hidden_states: 320 bytes"):
        graph._session.io_binding().bind_input("hidden_states", "cuda", 0, 1, host.shape, host.ctypes.data)
    with (
        OnnxRuntimeBackend() as other,
        pytest.raises(InputError, match="hidden_states is not a buffer of this backend"),
    ):
        graph.run(scored(other, host))


def test_memory_that_runs_out_is_named(
    on_gpu: OnnxRuntimeCudaBackend, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = opened(bundle, on_gpu, "llm")
    given = {**step(on_gpu, graph, 3, 0, 0), **new_caches(on_gpu, graph)}
    monkeypatch.setenv("DOUBLE_FAULT", "no memory for calls")
    with pytest.raises(ResourceError, match="graph llm: memory ran out"):
        graph.run(given)


def test_operators_that_stay_on_the_cpu_are_named(
    on_gpu: OnnxRuntimeCudaBackend, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOUBLE_HOST_OPERATOR", "Attention")
    with pytest.warns(UserWarning, match=r"graph llm: ONNX Runtime runs these on the CPU, slower: Attention \(2\)"):
        opened(bundle, on_gpu, "llm")


def test_cuda_that_cannot_start_is_an_error(
    library: ModuleType, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", "no CUDA libraries")
    with OnnxRuntimeCudaBackend() as backend, pytest.raises(EnvironmentMissingError, match="cannot start CUDA"):
        opened(bundle, backend, "lm_head")


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        (["onnxruntime"], "pip uninstall -y onnxruntime && pip install 'hyperseg-trt[gpu]'"),
        (["onnxruntime", "onnxruntime-gpu"], "overwrite each other; run: pip uninstall -y onnxruntime onnxruntime-gpu"),
    ],
)
def test_the_package_for_the_cpu_is_named(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, packages: list[str], said: str
) -> None:
    """The library that is installed here has no CUDA."""
    monkeypatch.setattr(importable, "packages_distributions", lambda: {"onnxruntime": packages})
    with pytest.raises(EnvironmentMissingError) as caught:
        make_backend("onnxruntime-cuda", bundle)
    assert said in str(caught.value) and "has no CUDAExecutionProvider, it has" in str(caught.value)


def test_options_of_other_backends_are_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match=r"threads goes with .* or openvino; onnxruntime-cuda takes none"):
        make_backend("onnxruntime-cuda", bundle, threads=2)


@pytest.mark.parametrize(
    ("left", "said"),
    [(None, "ONNX Runtime is missing; run: pip install"), ("", "ONNX Runtime cannot be loaded (module 'onnxruntime'")],
)
def test_no_onnx_runtime_is_one_line(tmp_path: Path, left: str | None, said: str) -> None:
    """Neither package, or what pip leaves where it removed one of the two."""
    if left is None:
        (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['onnxruntime'] = None")
    else:
        (tmp_path / "onnxruntime").mkdir()
        (tmp_path / "onnxruntime" / "__init__.py").write_text(left)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import runpy\n"
        + ("sys.modules['onnxruntime'] = None\n" if left is None else "")
        + "from hyperseg_runtime.backends.by_name import make_backend\n"
        "from hyperseg_runtime.errors import EnvironmentMissingError\n"
        "try: make_backend('onnxruntime', None)\n"
        "except EnvironmentMissingError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(said) and "'hyperseg-trt[cpu]'" in done.stdout and done.stdout.count("\n") == 1
