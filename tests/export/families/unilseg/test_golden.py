"""Every array of the original code, for the torch modules and for the exported graphs in ONNX Runtime."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from hyperseg_export.families.unilseg.golden import verify_golden
from hyperseg_export.families.unilseg.golden_cases import CASES, OTHER_OPENCV, is_input
from hyperseg_export.jobs.progress import Silent
from hyperseg_export.parity.golden import MODULES, GoldenFolder, GoldenReport
from hyperseg_runtime.errors import InputError
from support import golden_engines, golden_report

HOST_ARRAYS = ("warped_image_uint8", "prob_original_size", "final_mask")


@pytest.fixture(scope="module", params=golden_engines())
def report(shared_dir: Path, request: pytest.FixtureRequest) -> GoldenReport:
    return golden_report(shared_dir, "unilseg", request.param)


def test_everything_agrees(report: GoldenReport) -> None:
    assert report.failures == []


def test_nothing_is_left_out(report: GoldenReport, unilseg_golden: Path) -> None:
    """Every stored result is compared, but for what another release of OpenCV made."""
    folder = GoldenFolder.open(unilseg_golden)
    for case in CASES:
        compared = {row.array for row in report.compared if row.case == case}
        inputs = {name for name in folder.arrays(case) if is_input(name)}
        assert set(folder.arrays(case)) <= compared | inputs, case
        assert compared, case
    assert {(row.case, row.reason) for row in report.not_compared} == {("prepost_480_opencv5", OTHER_OPENCV)}
    tokens = [row for row in report.compared if row.array.startswith("tokens")]
    assert tokens and set(HOST_ARRAYS) <= {row.array for row in report.compared if row.case == "landscape"}


def test_inner_states_are_among_them(report: GoldenReport) -> None:
    seen = {row.array for row in report.compared if row.case == "landscape"}
    assert {"text_layer1", "fused_res2", "fpn1_self", "fpn4_cross", "fpn2_sum", "query_states", "query_text"} <= seen


class Replayed:
    """Host steps that give the golden arrays back, one of them changed."""

    def __init__(self, folder: GoldenFolder, wrong: str) -> None:
        self.cases = {case: folder.arrays(case) for case in ("landscape", "portrait")}
        self.wrong = wrong

    def array(self, key: str, image_hw: tuple[int, int]) -> np.ndarray:
        case = next(a for a in self.cases.values() if a["in_image_uint8"].shape[:2] == image_hw)
        changed = case[key].copy()
        if key == self.wrong:
            changed.flat[0] = 255 - changed.flat[0]
        return changed

    def letterbox(self, image: np.ndarray, side_px: int) -> np.ndarray:
        self.last_hw = (image.shape[0], image.shape[1])
        return self.array("warped_image_uint8", self.last_hw)

    def normalise(self, square: np.ndarray) -> np.ndarray:
        return self.array("img", self.last_hw)[0]

    def to_image(self, probabilities: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
        return self.array("prob_original_size", image_hw)

    def mask(self, probabilities: np.ndarray) -> np.ndarray:
        return self.array("final_mask", (probabilities.shape[0], probabilities.shape[1])) > 0

    def token_ids(self, sentence: str, words: int) -> np.ndarray:
        raise AssertionError("no sentences here")


@pytest.mark.parametrize("wrong", [*HOST_ARRAYS, "img", "nothing"])
def test_steps_outside_the_graphs_are_compared_where_given(wrong: str, unilseg_golden: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", "weights.safetensors", "landscape.npz"):
        (tmp_path / name).symlink_to(unilseg_golden / name)
    host = Replayed(GoldenFolder.open(unilseg_golden), wrong)
    report = verify_golden(GoldenFolder.open(tmp_path), Silent(), (MODULES,), host)
    assert {row.array for row in report.failures} == {wrong} - {"nothing"}
    assert set(HOST_ARRAYS) <= {row.array for row in report.compared}
    assert report.not_compared == ()


def test_a_wrong_weight_is_found(unilseg_golden: Path, tmp_path: Path) -> None:
    """One running mean off by one hundredth: folded into a bias, and still seen."""
    for name in ("manifest.json", "landscape.npz"):
        shutil.copy(unilseg_golden / name, tmp_path)
    weights = load_file(unilseg_golden / "weights.safetensors")
    weights["pixel_decoder.adapter_2.1.running_mean"][3] += 0.01
    save_file(weights, tmp_path / "weights.safetensors")
    report = verify_golden(GoldenFolder.open(tmp_path), Silent(), engines=(MODULES,))
    assert "fpn2_lateral" in {row.array for row in report.failures}
    assert "fpn3_lateral" not in {row.array for row in report.failures}


def test_a_folder_without_its_settings_is_refused(unilseg_golden: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "weights.safetensors").symlink_to(unilseg_golden / "weights.safetensors")
    with pytest.raises(InputError, match=r"lacks config\.input_size"):
        verify_golden(GoldenFolder.open(tmp_path), Silent())
