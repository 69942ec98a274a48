"""Which CUDA a driver runs, and which pip line fits it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperseg_runtime.contracts import cuda_versions
from hyperseg_runtime.contracts.cuda_versions import cuda_of_driver, install_line, installed_cuda, misfit


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        ("580.95.05", 13), ("610.3", 13), ("579.99", 12), ("535.183.06", 12), ("525.60.13", 12), ("470.82.01", 0),
        ("", 0), ("[N/A]", 0),
    ],
)  # fmt: skip
def test_the_newest_cuda_of_a_driver(driver: str, cuda: int) -> None:
    assert cuda_of_driver(driver) == cuda


@given(st.text())
def test_any_text_is_some_driver(text: str) -> None:
    assert cuda_of_driver(text) in (0, 12, 13)


def test_what_is_there_goes_before_the_other_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_versions, "installed", {"tensorrt": "11.4.0", "tensorrt-cu13": "11.4.0"}.get)
    assert install_line(12) == (
        "pip uninstall -y tensorrt tensorrt-cu13 tensorrt-cu13-bindings tensorrt-cu13-libs && "
        "pip install 'hyperseg-trt[trt-cu12]'"
    )
    assert install_line(13) == "pip install 'hyperseg-trt[trt]'"
    assert installed_cuda() == {"tensorrt-cu13": 13}


@pytest.mark.parametrize(("driver", "needed"), [(13, 13), (13, 12), (12, 12), (14, 13), (12, 0)])
def test_a_driver_that_is_new_enough_is_no_problem(driver: int, needed: int) -> None:
    assert misfit(driver, needed) is None


def test_a_driver_too_old_for_everything_has_to_go() -> None:
    assert "CUDA 12 needs 525" in str(misfit(11, 12)) and "renew the driver" in str(misfit(11, 12))
