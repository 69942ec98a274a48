"""Several expressions about a clip in one run against a run for each, on a CPU: graph calls, time, reading ahead.

    python benchmarks/graphs/bench_video.py bundle --size tiny
    python benchmarks/graphs/bench_video.py bundle --size "full width, 2 of 32 layers" --frames 30 --rival-frames 3

The clip is a window that moves over a photograph, its frames are JPEG files in a folder, and runs go over them as the
verb `video` does. Runs of one expression each may take fewer frames (`--rival-frames`); their time for the clip is in
proportion. A frame is read ahead in so far as it is read before the answer to the one before it. Masks of both ways are
compared. The last line of output is the path of the JSON file.
"""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from counted import Call, CountedPipeline, Spent, arguments, store
from PIL import Image

from hyperseg_bench import measure
from hyperseg_runtime.contracts.graph_spec import Reuse
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.images.frames import Frame, open_frames
from hyperseg_runtime.images.reading import load_image

RESULTS = "video"
TEXTS = ("the cup on the saucer", "the spoon", "the table behind it")
STEP_PX = 4
"""By which the window moves from frame to frame."""
WARM_UP_FRAMES = 2
READ = "read"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--rival-frames", type=int, help="Of each run of one expression; default: all.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, CountedPipeline(options.bundle, options.threads) as pipeline:
        write_clip(Path(folder), options.frames)
        found = rivals(pipeline, Path(folder), options.frames, options.rival_frames or options.frames)
    print(store(RESULTS, options, {"frames": options.frames, "texts": len(TEXTS), **found}))


def write_clip(folder: Path, frames: int) -> None:
    from hyperseg_export.samples import sample_images

    photo = load_image(sample_images()[0])
    width = photo.shape[1] - STEP_PX * (frames - 1)
    for number in range(frames):
        start = STEP_PX * number
        Image.fromarray(photo[:, start : start + width]).save(folder / f"{number}.jpg", quality=95)


class Run(NamedTuple):
    """A clip seen once; `masks` (frames, texts, H, W) bool."""

    spent: Spent
    read_s: float
    read_ahead_s: float
    masks: np.ndarray


def rivals(pipeline: CountedPipeline, folder: Path, frames: int, rival_frames: int) -> dict[str, Any]:
    over(pipeline, folder, TEXTS, WARM_UP_FRAMES)
    together = over(pipeline, folder, TEXTS, frames)
    apart = [over(pipeline, folder, (text,), rival_frames) for text in TEXTS]
    apart_s = sum(alone.spent.seconds for alone in apart) * frames / rival_frames
    others = np.concatenate([alone.masks for alone in apart], axis=1)
    of_image = {entry.spec.name for entry in pipeline.bundle.manifest.graphs if entry.spec.reuse is Reuse.IMAGE}
    return {
        "rival_frames": rival_frames,
        "image_graph_calls": {name: count for name, count in together.spent.calls.items() if name in of_image},
        "calls_together": together.spent.calls,
        "calls_apart": [alone.spent.calls for alone in apart],
        "together_s": round(together.spent.seconds, 2),
        "apart_s": round(apart_s, 2),
        "times_faster": round(apart_s / together.spent.seconds, 2),
        "differing_pixels": int((together.masks[:rival_frames] != others).sum()),
        "compared_pixels": others.size,
        "read_s": round(together.read_s, 4),
        "read_ahead_s": round(together.read_ahead_s, 4),
    }


def over(pipeline: CountedPipeline, folder: Path, texts: Sequence[str], frames: int) -> Run:
    """The first so many frames, each asked for all texts."""
    reads: list[Call] = []
    masks: list[np.ndarray] = []
    answered: list[float] = []

    def work() -> None:
        read = islice(_watched(folder, reads), frames)
        for _, ready in pipeline.open_video().over(read, texts):
            answered.append(perf_counter())
            masks.append(np.stack([one.mask for one in ready.results if isinstance(one, Instances)]))

    spent = pipeline.spent(work)
    later, before = reads[1:], answered[: len(reads) - 1]
    ahead = sum(max(0.0, min(one.end_s, last) - one.start_s) for one, last in zip(later, before, strict=True))
    print({"texts": len(texts), "frames": frames, "seconds": round(spent.seconds, 2)}, flush=True)
    return Run(spent, sum(one.end_s - one.start_s for one in later), ahead, np.stack(masks))


def _watched(folder: Path, reads: list[Call]) -> Iterator[Frame]:
    """The clip's frames, and when each was read."""
    frames, start = iter(open_frames(folder)), perf_counter()
    for frame in frames:
        reads.append(Call(READ, start, perf_counter()))
        yield frame
        start = perf_counter()


def markdown() -> str:
    """The stored results as the table of the README."""
    lines = [
        "| model | frames | calls of each image graph | s, one run | a run for each | ratio | read ahead |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measure.stored(RESULTS)["rows"]:
        (calls,) = set(row["image_graph_calls"].values())
        ahead = f"{row['read_ahead_s'] / row['read_s']:.0%}" if "read_ahead_s" in row else "not measured"
        times = f"{row['together_s']:,} | {row['apart_s']:,} | {row['times_faster']}"
        lines.append(f"| {row['size']} | {row['frames']} | {calls} | {times} | {ahead} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
