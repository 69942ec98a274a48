"""The best mask of every condition against the host's search, to the last pixel."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from hyperseg_export.modules.mask_readout import BestMasks, Bits, all_finite, certainty, first_where
from hyperseg_export.onnx.writer import OPSET
from hyperseg_kernels.mask_readout.axis import axis
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.images.preprocessing import square_geometry

SCORE = 1e-6
"""Means of sigmoids, added up in float32 here and in float64 there."""


@pytest.mark.parametrize("image_hw", [(1, 1), (40, 53), (64, 17), (90, 8)])
def test_the_host_finds_the_same(image_hw: tuple[int, int]) -> None:
    random = np.random.default_rng(sum(image_hw))
    geometry = square_geometry(*image_hw, 64)
    logits = random.normal(-1, 4, (2, 10, 16, 16)).astype(np.float32)
    scores = random.normal(0, 2, (2, 10, 3)).astype(np.float32)
    tables = [
        torch.from_numpy(table)
        for sizes in zip((16, 16), geometry.padded_hw, geometry.valid_hw, geometry.original_hw, strict=True)
        for table in (axis(*sizes).index.astype(np.int64), axis(*sizes).weight)
    ]
    queries, best, bits = BestMasks()(torch.from_numpy(logits), torch.from_numpy(scores), *tables)
    masks = np.unpackbits(bits.numpy(), axis=-1, count=image_hw[1]).view(np.bool_)
    for image, condition in np.ndindex(2, 3):
        expected = best_query(logits[image], scores[image, :, condition], geometry)
        assert queries[image, condition] == expected.query
        assert np.array_equal(masks[image, condition], expected.mask)
        assert abs(float(best[image, condition]) - expected.score) <= SCORE


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch, about itself
def test_the_best_of_unlikely_queries_is_found_by_a_graph_too() -> None:
    class Certainty(torch.nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return certainty(logits)

    logits = torch.linspace(-100, 100, 401)
    model = torch.onnx.export(
        Certainty().eval(), (logits,), dynamo=True, opset_version=OPSET, verbose=False
    ).model_proto
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: logits.numpy()})
    exact = torch.special.expit(logits.double()).numpy()
    normal = exact > np.finfo(np.float32).tiny
    assert np.allclose(found[normal], exact[normal], rtol=1e-6, atol=0) and (np.diff(found[normal]) >= 0).all()
    assert (found[~normal] <= np.finfo(np.float32).tiny).all()


def test_ties_go_to_the_first_and_nobody_points_outside() -> None:
    found = torch.tensor([[[0, 0], [1, 0], [1, 0]]], dtype=torch.bool)
    assert first_where(found).tolist() == [[1, 2]]


@pytest.mark.parametrize("width", [1, 7, 8, 9, 31])
def test_bits_are_numpys(width: int) -> None:
    inside = np.random.default_rng(width).random((2, 3, 5, width)) > 0.5
    assert np.array_equal(Bits()(torch.from_numpy(inside)).numpy(), np.packbits(inside, axis=-1))


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_seen_in_its_batch_alone(fault: float) -> None:
    fine, faulty = torch.zeros(3, 2, 2), torch.zeros(3, 4)
    faulty[1, 3] = fault
    assert all_finite(fine, faulty).tolist() == [True, False, True]
