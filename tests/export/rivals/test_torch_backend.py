"""PyTorch as a rival: the same masks and answers as ONNX Runtime, through the runtime's own code."""

from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.rivals.peaks import torch_peaks
from hyperseg_export.rivals.torch_backend import TorchBackend, eager
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Expressions, Question
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.session.pipeline import Pipeline
from support import family_bundle, family_checkpoint, others_slow


@pytest.mark.parametrize("family", [pytest.param(name, marks=others_slow(name)) for name in EXPORT_FAMILIES])
def test_masks_and_answers_are_those_of_the_graphs(shared_dir: Path, coffee: Path, family: str) -> None:
    bundle = Bundle.read(family_bundle(shared_dir, family))
    rival = eager(bundle, family_checkpoint(shared_dir, family), threads=1)
    with Pipeline(bundle, rival) as ours, Pipeline.load(bundle.directory, threads=1) as graphs:
        for texts in (("the cup",), ("the table", "the spoon on the left")):  # a first request, then what is reused
            request = Expressions(texts)
            for mine, theirs in zip(_asked(ours, coffee, request), _asked(graphs, coffee, request), strict=True):
                assert np.count_nonzero(mine.mask != theirs.mask) <= 1e-4 * mine.mask.size
                assert mine.score == pytest.approx(theirs.score, abs=1e-3)
        if ours.family.answers(Question):
            answers = [opened.open(coffee).ask("What is it?", max_tokens=4).finished() for opened in (ours, graphs)]
            assert answers[0].token_ids == answers[1].token_ids


def _asked(pipeline: Pipeline, image: Path, request: Expressions) -> list:
    with pipeline.open(image) as session:
        return session.run(request)


def test_another_checkpoint_is_refused(shared_dir: Path, tmp_path: Path) -> None:
    """Its masks would be compared with those of a model that it is not."""
    family = next(iter(EXPORT_FAMILIES))
    EXPORT_FAMILIES[family].random.write(tmp_path, "tiny", 7)
    with pytest.raises(InputError, match="is not the checkpoint that"):
        eager(Bundle.read(family_bundle(shared_dir, family)), tmp_path, None)


def test_compiling_is_left_to_torch(shared_dir: Path) -> None:
    """What is called is what `prepare` made of the module."""
    from hyperseg_export.opening import open_checkpoint

    family = next(iter(EXPORT_FAMILIES))
    model = open_checkpoint(family_checkpoint(shared_dir, family)).model
    prepared = []

    def prepare(module):
        prepared.append(module)
        return module

    bundle = Bundle.read(family_bundle(shared_dir, family))
    TorchBackend("rival", model, prepare, None).open(model.specs[0], bundle.path(bundle.manifest.graphs[0].file))
    assert len(prepared) == 1 and not prepared[0].training


def test_peaks_are_rates_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperseg_bench.latency.peaks.SECONDS", 0.02)
    monkeypatch.setattr("hyperseg_export.rivals.peaks.SIDE", 128)
    monkeypatch.setattr("hyperseg_export.rivals.peaks.COPY_BYTES", 2**20)
    flops, copy = torch_peaks(1)["host"]
    assert set(flops) == {"float32", "bfloat16"} and min(*flops.values(), copy) > 1e6
