"""AP of cases whose precision and recall can be written down."""

from typing import Any

import numpy as np
import pytest

from hyperseg_bench.quality.metrics.average_precision import average_precision
from hyperseg_runtime.contracts.results import encode_rle


def square(left: int, extent: int = 40) -> np.ndarray:
    mask = np.zeros((100, 100), np.bool_)
    mask[10 : 10 + extent, left : left + extent] = True
    return mask


def truth(*masks: np.ndarray) -> dict[str, Any]:
    annotations = [
        {
            "id": index, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": int(mask.sum()), "bbox": [0, 0, 1, 1],
            "segmentation": encode_rle(mask),
        }
        for index, mask in enumerate(masks, 1)
    ]  # fmt: skip
    return {
        "images": [{"id": 1, "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": annotations,
    }


def result(mask: np.ndarray, score: float, image: int = 1) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "score": score, "segmentation": encode_rle(mask)}


def test_the_truth_itself_scores_one_where_it_has_a_size() -> None:
    scores = average_precision(truth(square(5)), [result(square(5), 0.9)])
    assert (scores.ap, scores.ap50, scores.ap75) == pytest.approx((1, 1, 1))
    assert (scores.ap_small, scores.ap_medium, scores.ap_large) == pytest.approx((-1, 1, -1))


def test_a_mask_of_iou_two_thirds_counts_at_four_of_ten_thresholds() -> None:
    """32 of 40 columns shared: IoU 32 / 48, above 0.50, 0.55, 0.60 and 0.65."""
    scores = average_precision(truth(square(5)), [result(square(13), 0.9)])
    assert scores.ap == pytest.approx(0.4)
    assert (scores.ap50, scores.ap75) == pytest.approx((1, 0))


def test_a_wrong_mask_costs_only_if_it_comes_first() -> None:
    """Precision is read at its best from each recall on; without the order both would be equal."""
    right, wrong = square(5), square(55)
    last = average_precision(truth(right), [result(right, 0.9), result(wrong, 0.1)])
    first = average_precision(truth(right), [result(right, 0.1), result(wrong, 0.9)])
    assert last.ap == pytest.approx(1)
    assert first.ap == pytest.approx(0.5)


def test_nothing_found_is_zero() -> None:
    assert average_precision(truth(square(5)), []).ap == 0


def test_results_about_an_unknown_image_are_refused() -> None:
    with pytest.raises(ValueError, match="image 7, which is not among the 1"):
        average_precision(truth(square(5)), [result(square(5), 0.5, image=7)])
