"""Modules, ONNX Runtime and Triton give the same masks: a few held-out scenes always, all of them in the long tests."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import agreement
import numpy as np
import pytest
from agreement import MODULES, SERVER, Answerer

from hyperseg_export.samples import trained_checkpoint
from hyperseg_runtime.bundle.manifest import FILE_NAME
from hyperseg_runtime.contracts.results import Instances, Result
from hyperseg_runtime.errors import ParityError
from hyperseg_serving.server.distribution import Distribution

FEW = 3
MOST_OF_MODULES = 1e-5
"""Of all pixels: float32 sums in another order put a pixel on the other side of the threshold now and then."""


@pytest.fixture(scope="module")
def answerers(distribution: Distribution, trained_bundle: Path) -> Iterator[tuple[Answerer, dict[str, Answerer]]]:
    with agreement.answerers(trained_bundle, trained_checkpoint(), threads=1) as opened:
        yield opened


@pytest.mark.parametrize("scenes", [FEW, pytest.param(agreement.HELD_OUT, marks=pytest.mark.full)])
@pytest.mark.timeout(1200)
def test_masks_agree(answerers: tuple[Answerer, dict[str, Answerer]], scenes: int) -> None:
    rows = [agreement.compare_scene(seed, *answerers) for seed in range(scenes)]
    found = agreement.summary(rows)
    assert found["scenes"] == scenes and found["masks"] > 4 * scenes
    assert found["rivals"][SERVER]["pixels"] == 0
    assert found["rivals"][MODULES]["pixels"] <= MOST_OF_MODULES * found["pixels"]
    # Torch computed them, not ONNX Runtime. A score is a mean over its mask: one pixel more moves it.
    assert 0 < max(row["scores"][MODULES] for row in rows if not row["differing"][MODULES]) < 1e-4


def drawn(hidden_px: int) -> Answerer:
    """One that finds the left half of every image but for some pixels."""

    def answer(image: np.ndarray, texts: Sequence[str]) -> Sequence[Result]:
        mask = np.zeros(image.shape[:2], np.bool_)
        mask[:, : image.shape[1] // 2] = True
        mask[0, :hidden_px] = False
        scores = np.ones(1, np.float32)
        return [Instances(asked=(t,), task="any", masks=mask[None], scores=scores, labels=(t,)) for t in texts]

    return answer


def test_every_pixel_that_differs_is_counted() -> None:
    rows = [agreement.compare_scene(seed, drawn(0), {MODULES: drawn(0), SERVER: drawn(2)}) for seed in range(2)]
    found = agreement.summary(rows)
    masks = found["masks"]
    assert found["rivals"][MODULES] == {"masks": 0, "pixels": 0, "largest": 0, "scores": 0}
    assert found["rivals"][SERVER] == {"masks": masks, "pixels": 2 * masks, "largest": 2, "scores": 0}


def test_a_killed_run_goes_on_and_a_pixel_of_the_server_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE_NAME).write_text("a manifest")
    answered = 0

    def until_killed(image: np.ndarray, texts: Sequence[str]) -> Sequence[Result]:
        nonlocal answered
        answered += 1
        if answered == 3:
            raise KeyboardInterrupt
        return drawn(0)(image, texts)

    @contextmanager
    def answerers(*arguments: object) -> Iterator[tuple[Answerer, dict[str, Answerer]]]:
        yield until_killed, {MODULES: drawn(0), SERVER: drawn(1)}

    monkeypatch.setattr(agreement, "answerers", answerers)
    with pytest.raises(KeyboardInterrupt):
        agreement.compare(tmp_path, tmp_path, tmp_path, scenes=4)
    (kept,) = tmp_path.glob("*.jsonl")
    kept.write_text(kept.read_text() + '{"seed": 2, "mas')
    with pytest.raises(ParityError, match="pixels differ between the server and this process"):
        agreement.compare(tmp_path, tmp_path, tmp_path, scenes=4)
    assert answered == 5  # the third scene twice
    assert [json.loads(line)["seed"] for line in kept.read_text().splitlines()] == [0, 1, 2, 3]
    found = json.loads(capsys.readouterr().out)
    assert found["scenes"] == 4 and found["rivals"][SERVER]["pixels"] == found["masks"]


def test_another_bundle_starts_anew(tmp_path: Path) -> None:
    names = []
    for content in ("one manifest", "another"):
        (tmp_path / FILE_NAME).write_text(content)
        names.append(agreement.kept_in(tmp_path, tmp_path))
    assert names[0] != names[1]
