"""What nobody could try without a GPU and TensorRT: open questions about engines, each answered by trying.

    python benchmarks/gpu/gpu_checks.py [--bundle BUNDLE] [--only NAME ...]

Every check runs in a process of its own and gives one JSON object per line: the question, the answer, numbers. A
check that fails is an answer like any other. BUNDLE has engines for this machine (`hyperseg-trt build BUNDLE`).
`gpu_first_run.sh` runs this and everything else that a first machine with a GPU should be asked.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import device_memory
import numpy as np
import onnxruntime_cuda
from trials import attention, built, model_file, new_reader, read, spec_of, tried

TIMEOUT_S = 900
ROUNDS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="Bundle with engines; without it some questions stay open.")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), default=[check.__name__ for check in OPEN_QUESTIONS])
    parser.add_argument("--missing", choices=list(NEEDS), help="Say what the machine lacks for it, and stop.")
    parser.add_argument("--child", choices=list(CHECKS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.missing:
        print(NEEDS[options.missing](), end="")
        return
    if options.child:
        print(json.dumps(CHECKS[options.child](options.bundle)))
        return
    missing = what_is_missing()
    if missing:
        print(f"not measured: {missing}")
        return
    for name in options.only:
        print(json.dumps({"check": name, **in_a_process(name, options.bundle)}), flush=True)


def what_is_missing() -> str:
    from hyperseg_runtime.backends.tensorrt.machine import find_machine
    from hyperseg_runtime.errors import HypersegError

    try:
        find_machine()
    except HypersegError as error:
        return str(error)
    return ""


def torch_is_missing() -> str:
    """Empty where torch and a GPU are at hand."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else "no GPU, or torch is built without CUDA"


def in_a_process(name: str, bundle: Path | None) -> dict[str, Any]:
    """A parser or a kernel may take its process down."""
    command = [sys.executable, __file__, "--child", name, *(["--bundle", str(bundle)] if bundle else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"answer": f"took more than {TIMEOUT_S} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"answer": f"ended with {done.returncode}: {last}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def fused_attention(bundle: Path | None) -> dict[str, Any]:
    """Head widths of SigLIP and Phi-2, not marked as decomposable."""
    cases = [(width, kind) for width in (64, 72, 80) for kind in ("FLOAT16", "BFLOAT16")]
    answers = {f"{width} {kind.lower()}": tried(*attention(width, kind, "bool")) for width, kind in cases}
    return {"question": "is there a fused kernel for attention of this head width?", "answer": answers}


def attention_masks(bundle: Path | None) -> dict[str, Any]:
    answers = {mask: tried(*attention(80, "FLOAT16", mask)) for mask in ("bool", "additive")}
    return {"question": "are masks of truth values and added masks both right?", "answer": answers}


def int4_weights(bundle: Path | None) -> dict[str, Any]:
    """Weight-only, symmetric, one scale for 128 rows, as a quantised language model has them."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = random.integers(-8, 8, (256, 64))
    scales = random.uniform(0.01, 0.02, (2, 64)).astype(np.float16)
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale"], ["wide"], axis=0, block_size=128),
        helper.make_node("Cast", ["x"], ["narrow"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["narrow", "wide"], ["product"]),
        helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
    ]
    stored = helper.make_tensor("weight", TensorProto.INT4, weights.shape, weights.ravel())
    path = model_file(nodes, {"x": (8, 256)}, {"y": (8, 64)}, [stored, numpy_helper.from_array(scales, "scale")])
    inputs = {"x": random.standard_normal((8, 256), np.float32)}
    expected = inputs["x"] @ (weights * np.repeat(scales.astype(np.float32), 128, axis=0))
    answer = tried(path, inputs, {"y": expected})
    return {"question": "does a matrix product with INT4 weights build, and is it right?", "answer": answer}


def deformable_plugin(bundle: Path | None) -> dict[str, Any]:
    """NVIDIA's own, version 2, in float32."""
    import torch
    from onnx import helper, numpy_helper

    from hyperseg_kernels.deformable_attention.reference import deformable_attention

    levels = ((8, 8), (16, 16))
    random = np.random.default_rng(0)
    rows = sum(height * width for height, width in levels)
    inputs = {
        "value": random.standard_normal((1, rows, 8, 32), np.float32),
        "locations": random.uniform(0, 1, (1, rows, 8, 2, 4, 2)).astype(np.float32),
        "weights": random.uniform(0, 1, (1, rows, 8, 2, 4)).astype(np.float32),
    }
    constants = [
        numpy_helper.from_array(np.array(levels, np.int32), "shapes"),
        numpy_helper.from_array(np.array([0, 64], np.int32), "starts"),
    ]
    names = ["value", "shapes", "starts", "locations", "weights"]
    node = helper.make_node("MultiscaleDeformableAttnPlugin_TRT", names, ["y"], plugin_version="2")
    path = model_file([node], {k: v.shape for k, v in inputs.items()}, {"y": (1, rows, 8, 32)}, constants)
    value, locations, weights = (torch.from_numpy(array) for array in inputs.values())
    expected = deformable_attention(value, locations, weights, levels).numpy().reshape(1, rows, 8, 32)
    answer = tried(path, inputs, {"y": expected})
    return {"question": "is TensorRT's own plugin for deformable attention right in float32?", "answer": answer}


def sizes_of_profiles(bundle: Path | None) -> dict[str, Any]:
    from hyperseg_export.engine.profiles import make_profiles
    from hyperseg_runtime.bundle.opening import read_manifest

    question = "what do three profiles cost in the size of the language model's plan?"
    if bundle is None:
        return {"question": question, "answer": "not measured: no bundle"}
    entry = read_manifest(bundle).graph("llm")
    profiles = make_profiles(entry.spec, "latency")
    sizes = {count: len(built(bundle / entry.file, entry.spec, profiles[:count])) for count in (1, len(profiles))}
    return {"question": question, "answer": {f"{count} profiles": f"{size} bytes" for count, size in sizes.items()}}


def weight_streaming(bundle: Path | None) -> dict[str, Any]:
    import tensorrt as trt
    from onnx import helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((1024, 1024), np.float32), "weight")
    path = model_file(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])], {"x": (8, 1024)}, {"y": (8, 1024)}, [weights]
    )
    spec = spec_of(path)
    engine = read(built(path, spec, (), [trt.BuilderFlag.WEIGHT_STREAMING]))
    answer = {"streamable_bytes": engine.streamable_weights_size, "budget_bytes": engine.weight_streaming_budget_v2}
    return {"question": "what is the budget of an engine with weight streaming when nothing is set?", "answer": answer}


def inspector_report(bundle: Path | None) -> dict[str, Any]:
    """With dynamic shapes; the whole report belongs beside the fixtures in tests/export/engine/inspector."""
    import tensorrt as trt

    from hyperseg_export.engine.attention import fused_layers
    from hyperseg_export.engine.inspector import inspect_layers, read_layers
    from hyperseg_export.engine.profiles import Profile

    path, _, _ = attention(64, "FLOAT16", "bool")
    engine = read(built(path, spec_of(path), (Profile("first", {}), Profile("second", {}))))
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    shown = inspect_layers(trt, engine)
    return {
        "question": "what does the inspector tell without and with a context, and of which profile?",
        "answer": {
            "tensorrt": trt.__version__,
            "types without a context": [layer.outputs for layer in read_layers(text)],
            "types with one, by profile": [[layer.outputs for layer in layers] for layers in shown],
            "fused attention, by profile": [fused_layers(layers) for layers in shown],
            "report": json.loads(text),
        },
    }


def exchanged_weights(bundle: Path | None) -> dict[str, Any]:
    """STRIP_PLAN beside REFIT_INDIVIDUAL, with a constant in the body of a function that two nodes call."""
    import tensorrt as trt
    from onnx import helper, numpy_helper

    body = [
        helper.make_node("Constant", [], ["half"], value=numpy_helper.from_array(np.array(0.5, np.float32), "half")),
        helper.make_node("Mul", ["a", "half"], ["b"]),
    ]
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["scaled"]),
        helper.make_node("Half", ["scaled"], ["once"], domain="hyperseg"),
        helper.make_node("Half", ["once"], ["y"], domain="hyperseg"),
    ]
    weights = numpy_helper.from_array(np.full(4, 8, np.float32), "w")
    function = helper.make_function("hyperseg", "Half", ["a"], ["b"], body, [helper.make_opsetid("", 24)])
    path = model_file(nodes, {"x": (1, 4)}, {"y": (1, 4)}, [weights], functions=[function])
    flags = [trt.BuilderFlag.REFIT_INDIVIDUAL, trt.BuilderFlag.STRIP_PLAN]
    reader = new_reader()
    engine = read(built(path, spec_of(path), (), flags), reader)
    names = sorted(trt.Refitter(engine, reader.logger).get_all_weights())
    reader.fill(engine, "halved", path)
    return {"question": "is a plan without weights filled beside bodies of functions?", "answer": {"exchanged": names}}


def pixel_decoder_time(bundle: Path | None) -> dict[str, Any]:
    """Of the bundle's engine as it is now; `gpu_first_run.sh` builds it with plugins and with bodies."""
    from hyperseg_runtime.backends.tensorrt import TensorRTBackend
    from hyperseg_runtime.bundle.opening import Bundle, read_manifest

    question = "how do our own operators run in the pixel decoder, are they right, and what does a call take?"
    if bundle is None:
        return {"question": question, "answer": "not measured: no bundle"}
    entry = read_manifest(bundle).graph("pixel_decoder")
    random = np.random.default_rng(0)
    with TensorRTBackend(Bundle.read(bundle), accept_unmeasured=True, overlap=False) as backend:
        engine = backend.engines.usable(entry.spec.name, accept_unmeasured=True)
        graph = backend.open(entry.spec, bundle / entry.file)
        shapes = {tensor.name: tensor.shape({"batch": 1}) for tensor in entry.spec.inputs}
        inputs = {name: backend.upload(random.standard_normal(shape, np.float32)) for name, shape in shapes.items()}
        median = statistics.median(times_ms(partial(graph.run, inputs)))
    rows = [row.model_dump(mode="json") for row in engine.parity or ()]
    answer = {"plugins": engine.plugins, "plugin_layers": engine.plugin_layers, "median_ms": median}
    return {"question": question, "answer": {**answer, "parity": rows or "not measured"}}


def served(bundle: Path | None) -> dict[str, Any]:
    """The repository of the bundle with its engines, profile gpu, until a canary was answered."""
    from hyperseg_serving.contract import Profile
    from hyperseg_serving.repository.writer import bundle_spec, write_repository
    from hyperseg_serving.server.command import Address, ServerSettings
    from hyperseg_serving.server.distribution import find_distribution
    from hyperseg_serving.server.process import Server

    question = "does the server answer with profile gpu?"
    if bundle is None:
        return {"question": question, "answer": "not measured: no bundle"}
    repository = Path(tempfile.mkdtemp()) / "repository"
    write_repository(repository, *bundle_spec(bundle))
    settings = ServerSettings(repository, bundle, Profile.GPU, Address(0, 0, 0))
    with Server(find_distribution(), settings) as server:
        return {"question": question, "answer": {"seconds until a canary was answered": server.wait_until_ready(240)}}


def cuda_graphs(bundle: Path | None) -> dict[str, Any]:
    """One token with caches in place, on the bundle's engine."""
    from hyperseg_runtime.backends.tensorrt import TensorRTBackend
    from hyperseg_runtime.bundle.opening import Bundle, read_manifest

    question = "what does replaying a step of the language model save?"
    if bundle is None:
        return {"question": question, "answer": "not measured: no bundle"}
    entry = read_manifest(bundle).graph("llm")
    sizes = {"batch": 1, "tokens": 1, "slots": entry.spec.axis_ranges["slots"].maximum}
    numbers = np.arange(sizes["slots"])
    medians = {}
    for name, recordings in (("enqueued_ms", 0), ("replayed_ms", 4)):
        with TensorRTBackend(
            Bundle.read(bundle), accept_unmeasured=True, recordings=recordings, overlap=False
        ) as backend:
            graph = backend.open(entry.spec, bundle / entry.file)
            inputs = {tensor.name: backend.zeros(tensor, sizes) for tensor in entry.spec.inputs}
            inputs["slot_numbers"] = backend.upload(numbers)
            inputs["attended_slots"] = backend.upload(np.array([[[[0, len(numbers)], [0, 0]]]]))
            medians[name] = statistics.median(times_ms(partial(graph.run, inputs)))
    return {"question": question, "answer": medians}


def times_ms(work: Callable[[], object]) -> Iterator[float]:
    for _ in range(5):
        work()
    for _ in range(ROUNDS):
        start = perf_counter()
        work()
        yield (perf_counter() - start) * 1000


OPEN_QUESTIONS: tuple[Callable[[Path | None], dict[str, Any]], ...] = (
    fused_attention,
    attention_masks,
    int4_weights,
    deformable_plugin,
    sizes_of_profiles,
    cuda_graphs,
    weight_streaming,
    inspector_report,
    exchanged_weights,
)
CHECKS = {check.__name__: check for check in (*OPEN_QUESTIONS, pixel_decoder_time, served)}
NEEDS = {
    "torch": torch_is_missing,
    "tensorrt": what_is_missing,
    "cuda": device_memory.what_is_missing,
    "onnxruntime-cuda": onnxruntime_cuda.what_is_missing,
}

if __name__ == "__main__":
    main()
