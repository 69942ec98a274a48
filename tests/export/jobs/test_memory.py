"""What is read of the system about memory."""

from pathlib import Path

import pytest

from hyperseg_export.jobs import memory


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines as /proc/meminfo, /proc/vmstat and a control group have them (proc(5); cgroup-v2, Memory)."""
    for name in ("proc", "cgroup"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(memory, name.upper(), tmp_path / name)
    (tmp_path / "proc/meminfo").write_text("MemTotal:  24000000 kB\nMemFree:  1000 kB\nMemAvailable:  20000 kB\n")
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 7\noom_kill 3\n")


def test_a_container_may_have_less(tmp_path: Path) -> None:
    assert memory.available_bytes() == 20000 * 1024
    (tmp_path / "cgroup/memory.current").write_text("1000000\n")
    for limit, expected in (("max", 20000 * 1024), ("3000000", 2000000)):
        (tmp_path / "cgroup/memory.max").write_text(f"{limit}\n")
        assert memory.available_bytes() == expected


def test_kills_are_counted_where_they_are_told(tmp_path: Path) -> None:
    assert memory.kills() == 3
    (tmp_path / "cgroup/memory.events").write_text("low 0\noom 9\noom_kill 5\noom_group_kill 0\n")
    assert memory.kills() == 5


def test_a_system_that_says_nothing_is_not_guessed(tmp_path: Path) -> None:
    for path in (tmp_path / "proc").iterdir():
        path.unlink()
    assert memory.available_bytes() is None and memory.kills() == 0
