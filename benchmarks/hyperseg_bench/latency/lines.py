"""The raw samples of a run on disk: a line of JSON for everything that was measured, written when it is.

A line goes out in one write at the end of the file: a run that is killed leaves what it measured, and at most one line
that is not whole. The schema is the class definitions; `schema` gives it as JSON Schema.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hyperseg_runtime.errors import InputError, OutputError
from hyperseg_runtime.files.writing import explained

WHOLE, HOST = "", "host"
"""Parts of a request that are no graphs: all of it; what of it ran in no graph."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Run(_Line):
    """The first line: what was measured where, by which command.

    bundles   label of a subject -> family, precision, backend, sha256 of the bundle's manifest
    scenarios name -> what one request is
    """

    kind: Literal["run"] = "run"
    format_version: Literal[1] = 1
    started_utc: str
    command: list[str]
    rounds: int
    warm_up: int
    environment: dict[str, Any]
    subjects: dict[str, dict[str, str]]
    scenarios: dict[str, str]


class Absent(_Line):
    """What was not measured, and why; `scenario` is empty where the subject was not measured at all."""

    kind: Literal["absent"] = "absent"
    subject: str
    scenario: str = ""
    reason: str


class Peak(_Line):
    """What the machine reached in this run: operations a second by type, bytes a second of a copy.

    Of several of a place the last counts: the probe is repeated at the end of a run, and the best is kept.
    """

    kind: Literal["peak"] = "peak"
    place: str
    flops_per_s: dict[str, float]
    bytes_per_s: float


class Sample(_Line):
    """One time. `part` is a graph's name (all its calls in the request), HOST, or WHOLE.

    enqueue_ms  of a graph on a device: until its calls came back
    energy_j    of the whole request, where the GPU tells
    """

    kind: Literal["sample"] = "sample"
    subject: str
    scenario: str
    metric: str
    part: str = WHOLE
    round: int
    ms: float
    enqueue_ms: float | None = None
    energy_j: float | None = None


class Probed(_Line):
    """The fixed probe after a round."""

    kind: Literal["probe"] = "probe"
    scenario: str
    round: int
    ms: float


class Work(_Line):
    """What a graph has to do in a request: operations by type and bytes, and the shortest time at the machine's peaks.

    Of several of a graph the last counts, as of peaks.
    `unknown` says why there is none; then floor and bound are missing.
    """

    kind: Literal["work"] = "work"
    subject: str
    scenario: str
    graph: str
    calls: int
    flops: dict[str, int] = {}
    bytes: int = 0
    floor_ms: float | None = None
    bound: Literal["compute", "memory"] | None = None
    unknown: str = ""


class TimedCall(_Line):
    """A call on the time line of a request."""

    graph: str
    start_ms: float
    ms: float
    critical: bool


class TimeLine(_Line):
    """The calls of the last round, and how long the request took as a whole."""

    kind: Literal["timeline"] = "timeline"
    subject: str
    scenario: str
    ms: float
    calls: list[TimedCall]


class Memory(_Line):
    """Bytes that a subject's opening and warm-up took, host and device, and the process's peak so far."""

    kind: Literal["memory"] = "memory"
    subject: str
    host_bytes: int
    peak_host_bytes: int
    device_bytes: int | None = None


class Device(_Line):
    """What the GPU said of itself after a scenario."""

    kind: Literal["device"] = "device"
    scenario: str
    facts: dict[str, str]
    throttled: bool


class Drawn(_Line):
    """A subject's mask of the first expression beside the first subject's; files in the run's folder.

    differing_px  None of the first subject itself, else pixels whose mask differs, of `pixels`
    """

    kind: Literal["drawn"] = "drawn"
    subject: str
    asked: str
    overlay: str
    score: float
    pixels: int
    reference: str | None = None
    difference: str | None = None
    differing_px: int | None = None


Line = Run | Absent | Peak | Sample | Probed | Work | TimeLine | Memory | Device | Drawn
Kind = TypeVar("Kind", bound=_Line)
LINES: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def schema() -> dict[str, Any]:
    """JSON Schema of a line."""
    return LINES.json_schema()


class SampleFile:
    """A new file; a context manager around the time of writing. Raises OutputError where there is one already."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        with explained(self.path):
            if self.path.exists():
                raise OutputError(f"{self.path}: samples of another run are there; choose another place with --out")
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        return self

    def add(self, line: Line) -> None:
        data = (line.model_dump_json() + "\n").encode()
        with explained(self.path):
            while data:
                data = data[os.write(self._handle, data) :]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with explained(self.path):
            os.fsync(self._handle)
        os.close(self._handle)


def read_samples(path: Path) -> list[Line]:
    """All whole lines, a run first. Raises InputError for anything else; a last line without an end is left out."""
    if not path.is_file():
        raise InputError(f"{path}: no samples of a benchmark are there; make some with: hyperseg-trt bench BUNDLE")
    with explained(path):
        lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    found: list[Line] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(LINES.validate_json(line))
        except ValidationError as error:
            raise InputError(f"{path}: line {number} does not follow the schema: {error.errors()[0]['msg']}") from error
    if not found or not isinstance(found[0], Run):
        raise InputError(f"{path}: expected the conditions of a run in the first line")
    return found


def of_kind(lines: Iterable[Line], kind: type[Kind]) -> list[Kind]:
    return [line for line in lines if isinstance(line, kind)]
