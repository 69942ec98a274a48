"""ONNX Runtime on a GPU against ONNX Runtime on the CPU: every graph of bundles on the same calls, then whole requests.

    python benchmarks/gpu/onnxruntime_cuda.py BUNDLE [BUNDLE ...]

The calls are those that each family's warm-up makes about a photograph, recorded on the CPU in float32 arithmetic; what
the GPU makes of them is judged as an engine's answers are. Then both answer an expression, and pixels of the masks
that differ are counted. Says "not measured" and ends with 0 where ONNX Runtime's CUDA provider or a GPU is absent,
with 1 where a graph is too far off. The last line of output is the path of the JSON file.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from device_memory import gpu_name

from hyperseg_bench import measure
from hyperseg_runtime.bundle.manifest import ParityEntry
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Question
from hyperseg_runtime.errors import HypersegError
from hyperseg_runtime.reports.machine import installed

TEXT = "the cup"
QUESTION = "What is on the table?"
BACKEND = "onnxruntime-cuda"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    options = parser.parse_args()
    missing = what_is_missing()
    if missing:
        print(f"not measured: {missing}")
        return
    bundles = []
    for folder in options.bundles:
        bundles.append(compare(Bundle.read(folder)))
        print(bundles[-1], flush=True)
    from cuda.bindings import runtime as cudart

    content = {
        "environment": measure.environment() | {"gpu": gpu_name(cudart)},
        "conditions": {"onnxruntime-gpu": installed("onnxruntime-gpu"), "weights": "random", "text": TEXT},
        "bundles": measure.kept_rows("onnxruntime_cuda", "bundles", bundles, ("family", "precisions")),
    }
    print(measure.write_results("onnxruntime_cuda", content))
    if not all(row["passed"] for bundle in bundles for row in bundle["graphs"]):
        sys.exit(1)


def what_is_missing() -> str:
    """Empty where ONNX Runtime's CUDA provider, CUDA's libraries and a GPU are at hand."""
    from hyperseg_runtime.backends.onnxruntime.cuda import OnnxRuntimeCudaBackend

    try:
        OnnxRuntimeCudaBackend().close()
    except HypersegError as error:
        return str(error)
    return ""


def compare(bundle: Bundle) -> dict[str, Any]:
    """The worst rows per graph, what ran on the host, and how whole requests differ."""
    precisions = ", ".join(sorted({str(entry.precision) for entry in bundle.manifest.graphs}))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graphs = list(graph_rows(bundle))
        requests = request_rows(bundle)
    return {
        "family": bundle.manifest.family,
        "precisions": precisions,
        "graphs": graphs,
        "requests": requests,
        "on_the_host": sorted({str(warning.message) for warning in said}),
    }


def graph_rows(bundle: Bundle) -> Iterator[dict[str, Any]]:
    from hyperseg_export.families import tolerances_of
    from hyperseg_export.parity.entries import compare_graph, worst_of
    from hyperseg_export.parity.reference import record_calls
    from hyperseg_export.parity.saved_calls import read_calls
    from hyperseg_export.samples import sample_images
    from hyperseg_runtime.backends.onnxruntime.cuda import OnnxRuntimeCudaBackend

    tolerances = tolerances_of(bundle.manifest.family)
    with tempfile.TemporaryDirectory() as folder, OnnxRuntimeCudaBackend() as backend:
        names = [entry.spec.name for entry in bundle.manifest.graphs]
        record_calls(bundle, names, sample_images()[0], Path(folder))
        for entry in bundle.manifest.graphs:
            graph = backend.open(entry.spec, bundle.path(entry.file))
            rows: list[ParityEntry] = []
            calls = 0
            for call in read_calls(Path(folder), entry.spec.name):
                inputs = {name: backend.upload(array) for name, array in typed(call.inputs, entry.spec).items()}
                made = {name: buffer.to_host() for name, buffer in graph.run(inputs).items()}
                rows += compare_graph(entry.spec.name, entry.precision, made, call.outputs, "tensorrt", tolerances)
                calls += 1
            for row in worst_of(entry.spec.name, rows) if calls else ():
                yield {"calls": calls, **row.model_dump(mode="json", exclude={"engine"})}


def typed(inputs: dict[str, np.ndarray], spec: Any) -> dict[str, np.ndarray]:
    """The float32 numbers of a recorded call in the types that the graph takes."""
    return {tensor.name: inputs[tensor.name].astype(str(tensor.dtype)) for tensor in spec.inputs}


def request_rows(bundle: Bundle) -> dict[str, Any]:
    """One expression on both, and the first words of an answer where the family has any."""
    from hyperseg_export.samples import sample_images
    from hyperseg_runtime.session.pipeline import Pipeline, family_of

    asks = bool(family_of(bundle).answers(Question))
    masks, scores, tokens = [], [], []
    for name in ("onnxruntime", BACKEND):
        with Pipeline.load(bundle.directory, name) as pipeline, pipeline.open(sample_images()[0]) as image:
            (found,) = image.segment_many([TEXT])
            masks.append(np.asarray(found.masks))
            scores.append(np.asarray(found.scores))
            if asks:
                tokens.append(image.ask(QUESTION, max_tokens=8).finished().token_ids)
    return {
        "pixels": int(masks[0].size),
        "pixels_that_differ": int(np.count_nonzero(masks[0] != masks[1])),
        "score_difference": float(np.abs(scores[0] - scores[1]).max()) if scores[0].size else 0.0,
        "same_tokens": tokens[0] == tokens[1] if tokens else "not asked",
    }


if __name__ == "__main__":
    main()
