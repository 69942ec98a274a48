"""How well a bundle does on made scenes and clips: what `eval` asks of `shapes` and `shapes-clips`, in memory."""

from collections.abc import Callable, Sequence

import numpy as np

from hyperseg_bench.quality.answering import answered
from hyperseg_bench.quality.asks.ask import Numbers
from hyperseg_bench.quality.datasets.shapes.asked import Clips, Scenes
from hyperseg_bench.quality.table import make_table
from hyperseg_runtime.session.pipeline import Pipeline


def evaluate_shapes(
    pipeline: Pipeline,
    seeds: Sequence[int],
    photographs: Sequence[np.ndarray] = (),
    clips: int = 0,
    tell: Callable[[int], None] = lambda done: None,
) -> dict[str, Numbers]:
    """The table of the scenes of `seeds` and of the clips of the first `clips` seeds."""
    scenes, moving = Scenes(seeds, photographs), Clips(seeds[:clips], photographs)
    rows = []
    for done, key in enumerate(scenes.keys, 1):
        rows += answered(pipeline, scenes.sample(key))
        tell(done)
    for key in moving.keys:
        rows += answered(pipeline, moving.sample(key))
    return make_table(rows)
