"""Right, missed and wrong pixels are told apart by eye."""

import numpy as np

from hyperseg_bench.quality.asks.clip import ClipAsk
from hyperseg_bench.quality.pictures import MISSED_RGB, RIGHT_RGB, SURPLUS_RGB, draw_errors, row_picture
from hyperseg_bench.quality.samples import Sample
from hyperseg_runtime.contracts.results import Instances


def test_each_kind_of_pixel_has_its_colour() -> None:
    image = np.full((1, 4, 3), 100, np.uint8)
    drawn = draw_errors(image, np.array([[1, 0, 1, 0]], bool), np.array([[1, 1, 0, 0]], bool))
    nearest = [RIGHT_RGB, MISSED_RGB, SURPLUS_RGB]
    for pixel, tone in zip(drawn[0, :3].astype(int), nearest, strict=True):
        assert min(nearest, key=lambda other: np.abs(pixel - other).sum()) == tone
    assert (drawn[0, 3] == 100).all() and (image == 100).all()


def test_of_a_clip_the_worst_frame_is_drawn() -> None:
    truth = np.zeros((3, 2, 2), bool)
    masks = truth.copy()
    masks[1] = True
    results = [
        Instances(asked=("a",), task="any", masks=mask[None], scores=np.ones(1, np.float32), labels=("a",))
        for mask in masks
    ]
    ask = ClipAsk("one", "a", truth)
    frames = tuple(np.full((2, 2, 3), level, np.uint8) for level in (0, 100, 200))
    drawn = row_picture(Sample("clip", frames, (ask,)), ask.score(results))
    assert drawn is not None
    np.testing.assert_array_equal(drawn, draw_errors(frames[1], masks[1], truth[1]))
    assert row_picture(Sample("clip", frames, ()), {"answer": "yes"}) is None
