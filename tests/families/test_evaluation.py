"""Every family can be evaluated: what it declares is asked, the rest is counted with its reason."""

import numpy as np

from hyperseg_bench.quality.answering import answered, task_for
from hyperseg_bench.quality.datasets.shapes.asked import ClassScenes, Clips, Scenes
from hyperseg_bench.quality.samples import DataSet, Sample
from hyperseg_bench.quality.table import left_out, make_table
from hyperseg_runtime.session.pipeline import Pipeline

ONE = range(1)


def shortened(data: DataSet) -> Sample:
    """The first sample, with few asks and frames."""
    sample = data.sample(data.keys[0])
    asks = [ask for ask in sample.asks if ask.measure != "instances"]
    kinds = {ask.measure: ask for ask in asks}
    return Sample(sample.key, sample.frames, tuple(kinds.values()))


def test_it_is_asked_what_it_declares(family_pipeline: Pipeline) -> None:
    family = family_pipeline.family
    samples = [shortened(data) for data in (Scenes(ONE), Clips(ONE))]
    rows = [row for sample in samples for row in answered(family_pipeline, sample)]
    asks = [ask for sample in samples for ask in sample.asks]
    declared = {ask.measure for ask in asks if task_for(family, ask) is not None}
    assert {name.split(",")[0] for name in make_table(rows)} == declared >= {"expressions"}
    assert sum(left_out(rows).values()) == sum(task_for(family, ask) is None for ask in asks)
    assert all(np.isfinite(value) for numbers in make_table(rows).values() for value in numbers.values())


def test_class_lists_go_to_those_that_take_them(family_pipeline: Pipeline) -> None:
    sample = ClassScenes(ONE).sample(ClassScenes(ONE).keys[0])
    (ask,) = (ask for ask in sample.asks if ask.measure == "semantic")
    answerable = task_for(family_pipeline.family, ask) is not None
    (row,) = answered(family_pipeline, Sample(sample.key, sample.frames, (ask,)))
    assert ("left_out" in row) != answerable
    assert not answerable or 0 <= row["miou"] <= 1
