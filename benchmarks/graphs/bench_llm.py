"""The language model at HyperSeg-3B's width: what the cache is worth.

    python benchmarks/graphs/bench_llm.py --layers 2 --rounds 7        # four questions about a few layers
    python benchmarks/graphs/bench_llm.py --full                       # export and run all 32 layers (12 GB of disk)

1. reuse: the language model's time of the second expression on an image against the first.
2. in place: a key/value cache updated where it lies against one that is copied, the update alone and a whole step.
3. form: one decode step of the portable form against ONNX Runtime's own GroupQueryAttention.
4. together: several expressions packed into one call against one call each.

Weights are random: the arithmetic does not depend on them. Rivals run in turn in one process. The last line of
output is the path of the JSON file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
from llm_calls import FAMILY, SEED, GroupQueryLlm, Llm, decode_steps, graph_file, one, prompt

from hyperseg_bench import measure
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.llm.packing import pack

FULL_LAYERS = 32
EXPRESSION_TOKENS = (14, 9, 12)
"""With the closing [SEG]; 5 to 20 are usual (hyperseg-spec 4.5)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--full", action="store_true", help="Export 32 layers and run them, instead of the rivals.")
    parser.add_argument("--child", nargs=2, metavar=("TASK", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true", help="Print the stored results as a table and stop.")
    options = parser.parse_args()
    if options.table:
        print(markdown())
        return
    if options.child:
        task, folder = options.child
        print(json.dumps(CHILDREN[task](Path(folder), options)))
        return
    if options.full:
        options.layers, tasks, name = FULL_LAYERS, ("export", "run"), "llm_full"
    else:
        tasks, name = ("export", "rivals"), "llm"
    with tempfile.TemporaryDirectory() as folder:
        results = {task: child(task, folder, options) for task in tasks}
    conditions = {
        "layers": options.layers,
        "rounds": options.rounds,
        "threads": options.threads,
        "prompt_tokens": prompt(EXPRESSION_TOKENS[0]).length,
        "precision": "fp32",
    }
    content = {"environment": measure.environment(), "conditions": conditions, **results}
    print(measure.write_results(name, content))


def child(task: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    """Each in a process of its own: peak memory is per process."""
    command = [sys.executable, __file__, "--child", task, folder, "--layers", str(options.layers)]
    command += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    print(f"{task}: {result}", file=sys.stderr, flush=True)
    return result


def export(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write the graph from weights that are made when asked for; check the file."""
    import onnx
    from gqa_form import save_gqa_form

    from hyperseg_export.export import write_graph
    from hyperseg_export.families.registry import EXPORT_FAMILIES

    random = EXPORT_FAMILIES[FAMILY].random
    model = random.model_of(replace(random.sizes["full"], layers=options.layers), SEED)
    spec = model.spec("llm")
    start = perf_counter()
    _, facts = write_graph(model, spec, folder, {})
    seconds, peak = perf_counter() - start, measure.peak_bytes()
    (folder / "spec.json").write_text(spec.model_dump_json())
    onnx.checker.check_model(str(graph_file(folder)))
    dims = model.dimensions.model_dump()
    heads = dims["width"] // dims["head_width"]
    save_gqa_form(graph_file(folder), graph_file(folder, "llm_gqa"), heads, dims["cache_heads"])
    data_bytes = sum((folder / name).stat().st_size for name in facts["data_files"])
    return {
        "seconds": round(seconds, 1),
        "peak_mb": round(peak / 1e6),
        "data_mb": round(data_bytes / 1e6),
        "parameters": facts["parameters"],
        "checker": "passed",
    }


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All layers: one prefill, one second expression, decode steps."""
    llm = Llm.in_folder(folder, options.threads)
    first, second = prompt(EXPRESSION_TOKENS[0]), prompt(EXPRESSION_TOKENS[1])
    llm.call(one(first, ()))  # first use maps the weights
    times = {"prefill": llm.call(one(first, ())), "second_expression": llm.call(one(second, first.rows))}
    steps = [llm.call(step) for step in decode_steps(first, options.rounds)]
    return {
        "layers": options.layers,
        **{f"{name}_ms": milliseconds([seconds]) for name, seconds in times.items()},
        "decode_step_ms": milliseconds(steps),
        "finite": llm.finite,
        "peak_mb": round(measure.peak_bytes() / 1e6),
    }


def rivals(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    llm = Llm.in_folder(folder, options.threads)
    return {
        "reuse": reuse(llm, options.rounds),
        "cache_update": cache_update(llm.spec, options),
        "step_copied": step_copied(llm, options.rounds),
        "form": form(llm, folder, options),
        "together": together(llm, options.rounds),
    }


def reuse(llm: Llm, rounds: int) -> dict[str, Any]:
    first, second = prompt(EXPRESSION_TOKENS[0]), prompt(EXPRESSION_TOKENS[1])
    whole, rest = one(first, ()), one(second, first.rows)
    ours, theirs = measure.alternate((lambda: llm.call(rest), lambda: llm.call(whole)), rounds)
    return compared(ours, theirs, "second expression", "first expression") | {
        "rows": [rest.tokens, whole.tokens],
    }


def together(llm: Llm, rounds: int) -> dict[str, Any]:
    held = prompt(EXPRESSION_TOKENS[0]).rows
    prompts = [prompt(tokens) for tokens in EXPRESSION_TOKENS[1:]]
    (packed,) = pack(prompts, held, llm.context)
    single = [one(p, held) for p in prompts]
    ours, theirs = measure.alternate((lambda: llm.call(packed), lambda: [llm.call(p) for p in single]), rounds)
    return compared(ours, theirs, f"{len(prompts)} expressions in one call", "one call each")


def cache_update(spec: GraphSpec, options: argparse.Namespace) -> dict[str, Any]:
    """One TensorScatter on one layer's key cache, bound in place and not."""
    import onnx
    from onnx import TensorProto, helper

    cache = next(tensor for tensor in spec.inputs if tensor.name in spec.in_place.values())
    shape = [1, *(int(axis) for axis in cache.axes[1:])]
    update = [*shape[:2], 1, shape[3]]
    node = helper.make_node("TensorScatter", ["past", "new", "at"], ["present"], axis=-2, mode="linear")
    tensors = [("past", TensorProto.FLOAT, shape), ("new", TensorProto.FLOAT, update), ("at", TensorProto.INT64, [1])]
    inputs = [helper.make_tensor_value_info(*tensor) for tensor in tensors]
    outputs = [helper.make_tensor_value_info("present", TensorProto.FLOAT, shape)]
    graph = helper.make_graph([node], "cache_update", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    onnx.checker.check_model(model)
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session_options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), session_options, providers=["CPUExecutionProvider"])
    values = {name: ort.OrtValue.ortvalue_from_numpy(np.zeros(s, np.float32)) for name, _, s in tensors[:2]}
    values["at"] = ort.OrtValue.ortvalue_from_numpy(np.array([7], np.int64))
    other = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))

    def updating(result: ort.OrtValue) -> Callable[[], None]:
        binding = session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output("present", result)
        return lambda: session.run_with_iobinding(binding)

    ours, theirs = measure.alternate((updating(values["past"]), updating(other)), 20 * options.rounds, warm_up=20)
    return compared(ours, theirs, "updated in place", "copied") | {"cache_mb": round(4 * np.prod(shape) / 1e6, 1)}


def step_copied(llm: Llm, rounds: int) -> dict[str, Any]:
    """A whole decode step, outputs bound to the inputs' memory or to other buffers."""
    step = next(iter(decode_steps(prompt(EXPRESSION_TOKENS[0]), 1)))
    others = {name: llm.backend.upload(cache.array.copy()) for name, cache in llm.caches.items()}
    ours, theirs = measure.alternate((lambda: llm.call(step), lambda: llm.call_into(step, others)), 5 * rounds)
    return compared(ours, theirs, "in place", "copied")


def form(llm: Llm, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Also compares the results of both forms."""
    asked = prompt(EXPRESSION_TOKENS[0])
    step = next(iter(decode_steps(asked, 1)))
    rival = GroupQueryLlm(folder, llm, options.threads)
    ours, theirs = (model(one(asked, ()), True) for model in (llm.hidden, rival.hidden))
    difference = float(np.abs(ours - theirs).max() / np.ptp(ours))
    found = measure.alternate((lambda: llm.call(step), lambda: rival.hidden(step, False)), 5 * options.rounds)
    return compared(found[0], found[1], "TensorScatter + Attention", "GroupQueryAttention") | {
        "worst_difference": difference
    }


def compared(ours: list[float], theirs: list[float], our_name: str, their_name: str) -> dict[str, Any]:
    return {
        "ours": our_name,
        "rival": their_name,
        "ours_ms": milliseconds(ours),
        "rival_ms": milliseconds(theirs),
        "ratio": round(measure.ratio(ours, theirs), 4),
        "samples": {"ours_s": ours, "rival_s": theirs},
    }


def milliseconds(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 4)


def markdown() -> str:
    """What the READMEs show."""
    content = json.loads((measure.RESULTS / "llm.json").read_text())
    lines = ["| ours | rival | ours ms | rival ms | time ratio |", "|---|---|---|---|---|"]
    for row in content["rivals"].values():
        lines.append(
            f"| {row['ours']} | {row['rival']} | {row['ours_ms']:,.3f} | {row['rival_ms']:,.3f} | {row['ratio']:.3f} |"
        )
    return "\n".join(lines)


CHILDREN = {"export": export, "run": run, "rivals": rivals}


if __name__ == "__main__":
    main()
