"""A class list in one request against one expression for each class, on a CPU: passes of the language model, and time.

    hyperseg-trt make-synthetic checkpoint --preset hyperseg-3b --layers 2
    hyperseg-trt export checkpoint bundle --skip-parity
    python benchmarks/graphs/bench_classes.py bundle --size "full width, 2 of 32 layers"

Both ask about the same new image in one process, in turn; then the list once more, about the image seen by then. Of the
single expressions the first, which sees the image, and `--sample` further ones are timed: all of them take the first,
and as many times the mean of the further ones as there are. Weights are random: the arithmetic does not depend on them.
The last line of output is the path of the JSON file.
"""

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from counted import CountedPipeline, Spent, arguments, store

from hyperseg_bench import measure
from hyperseg_runtime.class_lists.reading import written_class_list
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.images.reading import load_image

RESULTS = "classes"
TASK = "panoptic"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sample", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with CountedPipeline(options.bundle, options.threads) as pipeline:
        found = compared(pipeline, options.sample, options.rounds)
    print(store(RESULTS, options, {"rounds": options.rounds, **found}))


class Turn(NamedTuple):
    """What both took once."""

    whole: Spent
    first: Spent
    further: list[Spent]
    seen: Spent

    @property
    def further_s(self) -> float:
        return statistics.mean(spent.seconds for spent in self.further)


def compared(pipeline: CountedPipeline, sample: int, rounds: int) -> dict[str, Any]:
    from hyperseg_export.samples import sample_images

    pixels, request = load_image(sample_images()[0]), written_class_list("coco").request(TASK)
    first, *others = request.names
    chosen = [others[index] for index in np.linspace(0, len(others) - 1, sample).astype(int)]
    turns = [turn(pipeline, pixels, request, [first, *chosen]) for _ in range(rounds + 1)][1:]  # without the warm-up
    every = [one.first.seconds + len(others) * one.further_s for one in turns]
    lists, seen = (
        [spent.seconds for spent in column] for column in zip(*((o.whole, o.seen) for o in turns), strict=True)
    )
    all_further = [len(request.names) * one.further_s for one in turns]
    last = turns[-1]
    return {
        "classes": len(request.names),
        "task": TASK,
        "image_px": list(pixels.shape[1::-1]),
        "further_expressions_timed": sample,
        "list_llm_passes": last.whole.calls["llm"],
        "expressions_llm_passes": last.first.calls["llm"] + len(others) * last.further[-1].calls["llm"],
        "list_s": round(statistics.median(lists), 2),
        "expressions_s": round(statistics.median(every), 2),
        "times_faster": round(measure.ratio(every, lists), 2),
        "seen_list_s": round(statistics.median(seen), 2),
        "seen_expressions_s": round(statistics.median(all_further), 2),
        "seen_times_faster": round(measure.ratio(all_further, seen), 2),
        "calls": {"list": last.whole.calls, "first": last.first.calls, "further": last.further[-1].calls},
        "samples_s": {
            "list": lists,
            "seen_list": seen,
            "first": [one.first.seconds for one in turns],
            "further": [[spent.seconds for spent in one.further] for one in turns],
        },
    }


def turn(pipeline: CountedPipeline, pixels: np.ndarray, request: Classes, names: Sequence[str]) -> Turn:
    """The image is new to both."""
    with pipeline.open(pixels) as session:
        whole = pipeline.spent(partial(session.run, request))
    with pipeline.open(pixels) as session:
        first, *further = [pipeline.spent(partial(session.run, Expressions((name,)))) for name in names]
        seen = pipeline.spent(partial(session.run, request))
    made = Turn(whole, first, further, seen)
    print(
        {"list_s": whole.seconds, "first_s": first.seconds, "further_s": made.further_s, "seen_s": seen.seconds},
        flush=True,
    )
    return made


def markdown() -> str:
    """The stored results as the table of the README."""
    lines = [
        "| model | image | classes | passes, list | expression each | s, list | expression each | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in measure.stored(RESULTS)["rows"]:
        passes = f"{row['list_llm_passes']} | {row['expressions_llm_passes']}"
        for image, kind in (("new", ""), ("seen before", "seen_")):
            times = f"{row[f'{kind}list_s']} | {row[f'{kind}expressions_s']:,} | {row[f'{kind}times_faster']}"
            lines.append(f"| {row['size']} | {image} | {row['classes']} | {passes} | {times} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
