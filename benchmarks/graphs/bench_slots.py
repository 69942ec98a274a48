"""What the language model gains by attending to the cache's slots in use, at HyperSeg-3B's width on a CPU.

    python benchmarks/graphs/bench_slots.py --layers 1 --rounds 15

The same graph and the same calls, once told of the slots in use and once of all 1,280; hidden states are compared.
Weights are random: the arithmetic does not depend on them. The two take turns in one process; times are CPU seconds of
the process, which other work moves less than the clock. The last line of output is the path of the JSON file.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from llm_calls import FAMILY, SEED, Llm, decode_steps, one, prompt

from hyperseg_bench import measure
from hyperseg_runtime.llm.packing import PackedPrompts
from hyperseg_runtime.llm.prompt import Prompt, Slot

EXPRESSION_TOKENS = (14, 9)
QUESTION_TOKENS = 40
"""A question about no image."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        export(Path(folder), options.layers)
        llm = Llm.in_folder(Path(folder), options.threads)
        rows = [compared(llm, name, call, options.rounds) for name, call in calls().items()]
    conditions = {"layers": options.layers, "rounds": options.rounds, "threads": options.threads, "precision": "fp32"}
    content = {
        "environment": measure.environment(),
        "conditions": {**conditions, "slots": llm.context, "load": options.load, "weights": "random"},
        "calls": rows,
    }
    print(measure.write_results("slots", content))


def export(folder: Path, layers: int) -> None:
    from hyperseg_export.export import write_graph
    from hyperseg_export.families.registry import EXPORT_FAMILIES

    random = EXPORT_FAMILIES[FAMILY].random
    model = random.model_of(replace(random.sizes["full"], layers=layers), SEED)
    spec = model.spec("llm")
    write_graph(model, spec, folder, {})
    (folder / "spec.json").write_text(spec.model_dump_json())


def calls() -> dict[str, PackedPrompts]:
    first, second = (prompt(tokens) for tokens in EXPRESSION_TOKENS)
    question = Prompt((Slot.text(list(range(QUESTION_TOKENS))),))
    return {
        "first expression": one(first, ()),
        "next expression": one(second, first.rows),
        "decode step": decode_steps(first, 1)[0],
        "question without an image": one(question, ()),
    }


def compared(llm: Llm, name: str, call: PackedPrompts, rounds: int) -> dict[str, Any]:
    """CPU milliseconds of both in turn, and by how much the hidden states differ, as a part of their range."""
    ways = {"in_use": llm.inputs(call), "all": llm.inputs(call, llm.context)}
    samples: dict[str, list[float]] = {way: [] for way in ways}
    hidden: dict[str, np.ndarray] = {}
    for turn in range(rounds + 1):
        for way, inputs in ways.items():
            start = process_time()
            made = llm.graph.run({**inputs, **llm.caches})["hidden_states"].to_host()
            if turn:  # the first is warm-up
                samples[way].append(process_time() - start)
            hidden[way] = made.copy()
    difference = np.abs(hidden["in_use"] - hidden["all"]).max() / np.ptp(hidden["all"])
    row = {
        "call": name,
        "rows": call.tokens,
        "slots_in_use": call.last_slot,
        "ratio": round(measure.ratio(samples["in_use"], samples["all"]), 4),
        "worst_difference": float(difference),
        "samples_s": samples,
    }
    print({key: value for key, value in row.items() if key != "samples_s"}, flush=True)
    return row


if __name__ == "__main__":
    main()
