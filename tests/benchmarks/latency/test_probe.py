"""What the probe tells."""

import pytest

from hyperseg_bench.latency.probe import IN_A_ROW, Probe


def test_threads_that_begin_on_one_core_are_no_disturbance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first count after a sleep takes twice as long on a machine that does nothing else."""
    counts = iter([6.0, *[3.0] * (IN_A_ROW - 1)])
    with Probe(2) as probe:
        monkeypatch.setattr(probe, "_once", lambda: next(counts))
        assert probe.ms() == 3.0
