"""The masks that subjects find, drawn side by side, and where they differ."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from hyperseg_bench.latency.lines import Drawn
from hyperseg_bench.latency.scenarios import expression
from hyperseg_bench.quality.pictures import draw_errors
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Instances, encode_png
from hyperseg_runtime.files.writing import write_atomically
from hyperseg_runtime.reports.overlay import draw_overlay
from hyperseg_runtime.session.pipeline import Pipeline

ASKED = expression(0)


def draw(pipelines: Mapping[str, Pipeline], picture: np.ndarray, directory: Path) -> Iterator[Drawn]:
    """Ask every pipeline for the same mask; the others are held against the first. PNGs go to `directory`."""
    first: tuple[str, Instances] | None = None
    for number, (label, pipeline) in enumerate(pipelines.items()):
        if not pipeline.family.answers(Expressions):
            continue
        found = pipeline(picture, ASKED)
        overlay = f"mask-{number}.png"
        write_atomically(directory / overlay, encode_png(draw_overlay(picture, found.mask)))
        drawn = Drawn(subject=label, asked=ASKED, overlay=overlay, score=found.score, pixels=found.mask.size)
        if first is None:
            first = label, found
            yield drawn
            continue
        difference = f"difference-{number}.png"
        write_atomically(directory / difference, encode_png(draw_errors(picture, found.mask, first[1].mask)))
        yield drawn.model_copy(update={
            "reference": first[0], "difference": difference,
            "differing_px": int(np.count_nonzero(found.mask != first[1].mask)),
        })  # fmt: skip
