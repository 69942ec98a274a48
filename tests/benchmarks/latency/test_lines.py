"""Raw samples on disk: whole lines whatever happens, a schema, and errors that name the line."""

import json
from pathlib import Path

import pytest

from hyperseg_bench.latency.lines import LINES, Run, SampleFile, read_samples, schema
from hyperseg_runtime.errors import InputError, OutputError
from latency_lines import made_lines


def test_what_is_written_is_read(tmp_path: Path) -> None:
    lines = made_lines({"a": 1.0}, count=3)
    with SampleFile(tmp_path / "s.jsonl") as file:
        for line in lines:
            file.add(line)
        assert read_samples(tmp_path / "s.jsonl") == lines  # every line is on its way when it is added
    with pytest.raises(OutputError, match="another run"), SampleFile(tmp_path / "s.jsonl"):
        pass


def test_half_a_last_line_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    lines = made_lines({"a": 1.0}, count=3)
    data = b"".join(line.model_dump_json().encode() + b"\n" for line in lines)
    path = tmp_path / "s.jsonl"
    path.write_bytes(data[:-9])
    assert read_samples(path) == lines[:-1]
    path.write_bytes(data.replace(b'"ms":5.0', b'"ms":"quick"', 1))
    with pytest.raises(InputError, match="line 5 does not follow the schema"):
        read_samples(path)
    path.write_bytes(data.split(b"\n", 1)[1])
    with pytest.raises(InputError, match="conditions of a run in the first line"):
        read_samples(path)
    with pytest.raises(InputError, match="no samples of a benchmark"):
        read_samples(tmp_path / "nothing")


def test_the_schema_knows_every_kind() -> None:
    content = schema()
    kinds = set(content["discriminator"]["mapping"])
    assert {"run", "sample", "probe", "absent", "work"} <= kinds and content == json.loads(json.dumps(content))
    assert isinstance(LINES.validate_python(made_lines({"a": 1.0})[0].model_dump()), Run)
