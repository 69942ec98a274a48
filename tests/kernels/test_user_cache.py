"""Where each system keeps what can be made again."""

import sys
from pathlib import Path

import pytest

from hyperseg_kernels.user_cache import user_cache


@pytest.mark.parametrize(
    ("platform", "place"),
    [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")],
)
def test_each_system_has_its_place(monkeypatch: pytest.MonkeyPatch, platform: str, place: str) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("somebody"))
    assert user_cache() == Path("somebody") / place / "hyperseg-trt"
    monkeypatch.setenv("XDG_CACHE_HOME", "chosen")
    assert user_cache() == Path("chosen") / "hyperseg-trt"


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert user_cache() is None
