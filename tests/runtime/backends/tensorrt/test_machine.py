"""Why CUDA does not start, in the words of who has to repair it."""

import pytest

from hyperseg_runtime.backends.cuda import driver
from hyperseg_runtime.backends.tensorrt.machine import find_machine
from hyperseg_runtime.errors import EnvironmentMissingError


@pytest.fixture(autouse=True)
def nothing_installed(tensorrt_double: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The double is no package; what the tests' machine has besides must not matter."""
    monkeypatch.setattr(driver, "installed_cuda", dict)


def test_an_old_driver_is_told_with_what_fits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_DRIVER", "12040")
    with pytest.raises(
        EnvironmentMissingError,
        match=r"driver here runs CUDA 12.4 and older; the installed packages need CUDA 13, so driver 580 or newer; "
        r"renew the driver, or take what fits this one: .*pip install 'hyperseg-trt\[trt-cu12\]'",
    ):
        find_machine()


def test_packages_of_an_older_cuda_run_on_a_newer_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_CUDA_RUNTIME", "12090")
    monkeypatch.setenv("DOUBLE_DRIVER", "12040")
    assert find_machine().driver_cuda == "12.4"


def test_tensorrt_too_may_need_a_newer_driver_than_cuda_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_CUDA_RUNTIME", "12090")
    monkeypatch.setenv("DOUBLE_DRIVER", "12040")
    monkeypatch.setattr(driver, "installed_cuda", lambda: {"tensorrt-cu13": 13})
    with pytest.raises(EnvironmentMissingError, match="need CUDA 13"):
        find_machine()


def test_no_driver_at_all_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_DRIVER", "0")
    with pytest.raises(EnvironmentMissingError, match="no NVIDIA driver; install version 580 or newer"):
        find_machine()


def test_no_gpu_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_GPUS", "0")
    with pytest.raises(EnvironmentMissingError, match="CUDA finds 0 here"):
        find_machine()


@pytest.mark.parametrize(
    ("status", "hint"), [("802", "nvidia-fabricmanager"), ("803", "the driver was renewed"), ("999", "nvidia-smi")]
)
def test_other_failures_keep_their_status(monkeypatch: pytest.MonkeyPatch, status: str, hint: str) -> None:
    monkeypatch.setenv("DOUBLE_START_STATUS", status)
    with pytest.raises(EnvironmentMissingError, match=rf"CUDA cannot start .*status {status}\).*{hint}"):
        find_machine()
