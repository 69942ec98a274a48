"""What a worker says to the process that started it."""

import errno
import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from hyperseg_export.jobs.worker import run_job
from hyperseg_runtime.errors import AuditError


class Number(BaseModel):
    value: int


def said(
    work: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> object:
    job = tmp_path / "job.json"
    job.write_text('{"value": 20}')
    monkeypatch.setattr("sys.argv", ["worker", str(job)])

    def double(number: Number) -> Number:
        if work is not None:
            raise work
        return Number(value=2 * number.value)

    run_job(Number, double)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (None, {"made": {"value": 40}}),
        (AuditError("other types"), {"error": "other types", "kind": "AuditError"}),
        (MemoryError(), {"error": "the host's memory ran out; use a machine with more", "kind": "ResourceError"}),
        (
            OSError(errno.ENOSPC, "No space left on device", "llm.plan"),
            {"error": "llm.plan: No space left on device", "kind": "ResourceError"},
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "llm.onnx"),
            {"error": "llm.onnx: Permission denied", "kind": "OutputError"},
        ),
    ],
)
def test_every_end_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: Exception | None,
    message: object,
) -> None:
    assert said(raised, tmp_path, monkeypatch, capsys) == message
