"""A run: scenarios one after another, in each of them all subjects in turn, round after round."""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from hyperseg_bench import measure
from hyperseg_bench.latency import conditions
from hyperseg_bench.latency.cost import Cost, CostOf, Floor, Peaks, cost_counter
from hyperseg_bench.latency.drawing import draw
from hyperseg_bench.latency.gpu import Gpu
from hyperseg_bench.latency.lines import (
    HOST,
    Absent,
    Device,
    Memory,
    Peak,
    Probed,
    Run,
    Sample,
    SampleFile,
    TimedCall,
    TimeLine,
    Work,
)
from hyperseg_bench.latency.peaks import DEVICE, best_of, machine_peaks
from hyperseg_bench.latency.peaks import HOST as HOST_PLACE
from hyperseg_bench.latency.probe import Probe
from hyperseg_bench.latency.scenarios import REQUEST, Pictures, Round, Scenario, Times
from hyperseg_bench.latency.subjects import Choice, Opened, Subject
from hyperseg_bench.latency.watching import Call, WatchedBackend, critical_path
from hyperseg_bench.quality.datasets.shapes.scene import make_scene
from hyperseg_runtime.cli.app import COMMAND
from hyperseg_runtime.errors import HypersegError
from hyperseg_runtime.reports.machine import cores

PICTURE_PX = 640
Tell = Callable[[str, int, int], None]
"""Scenario, rounds done, rounds in all."""


@dataclass(frozen=True)
class Experiment:
    subjects: Sequence[Subject]
    scenarios: Sequence[Scenario]
    choice: Choice
    rounds: int = 20
    warm_up: int = 3
    pictures: Pictures = field(default_factory=lambda: made_pictures())


def made_pictures() -> list[np.ndarray]:
    """Two scenes of the data set `shapes`, (640, 640, 3) uint8: for those who name no image of their own."""
    return [make_scene(seed, (), PICTURE_PX).image for seed in (0, 1)]


def run(experiment: Experiment, path: Path, tell: Tell = lambda name, done, of: None) -> None:
    """Measure, each thing in the new file `path` as soon as it is. What cannot be measured is a line that says so."""
    threads = experiment.choice.options.get("threads")
    gpu = Gpu.open()
    with SampleFile(path) as file, ExitStack() as opened, Probe(threads or cores()) as probe:
        file.add(_conditions(experiment, gpu))
        peaks = machine_peaks(threads or cores())
        ready = {
            subject: made
            for subject in experiment.subjects
            if (made := _opened(subject, experiment, file, opened, gpu))
        }
        asked = _Run(experiment, file, probe, gpu, peaks, tell)
        asked.all(ready)
        asked.reached(machine_peaks(threads or cores()))
        for line in draw(
            {subject.label: made.pipeline for subject, made in ready.items()}, experiment.pictures[0], path.parent
        ):
            file.add(line)


def _conditions(experiment: Experiment, gpu: Gpu | None) -> Run:
    return Run(
        started_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        command=[COMMAND, *sys.argv[1:]],
        rounds=experiment.rounds,
        warm_up=experiment.warm_up,
        environment=conditions.conditions(experiment.choice.options.get("threads"), gpu),
        subjects={subject.label: subject.facts() for subject in experiment.subjects},
        scenarios={scenario.name: scenario.about for scenario in experiment.scenarios},
    )


def _opened(
    subject: Subject, experiment: Experiment, file: SampleFile, stack: ExitStack, gpu: Gpu | None
) -> Opened | None:
    """Open a subject and let every graph run that the scenarios need; None, and a line, where that cannot be."""
    host, device = conditions.resident_bytes(), gpu.used_bytes() if gpu else None
    try:
        made = subject.open(experiment.choice)
        stack.enter_context(made.pipeline)
        for scenario in _fitting(subject, experiment.scenarios):
            with scenario.begin(made.pipeline, experiment.pictures) as once:
                once(-experiment.warm_up - 1)
    except HypersegError as error:
        file.add(Absent(subject=subject.label, reason=str(error)))
        return None
    gc.collect()
    used = gpu.used_bytes() if gpu else None
    file.add(Memory(
        subject=subject.label, host_bytes=conditions.resident_bytes() - host, peak_host_bytes=measure.peak_bytes(),
        device_bytes=None if used is None or device is None else used - device,
    ))  # fmt: skip
    return made


def _fitting(subject: Subject, scenarios: Sequence[Scenario]) -> Iterator[Scenario]:
    return (scenario for scenario in scenarios if not scenario.lacking(subject.family))


class _Run:
    def __init__(
        self,
        experiment: Experiment,
        file: SampleFile,
        probe: Probe,
        gpu: Gpu | None,
        peaks: Mapping[str, Peaks],
        tell: Tell,
    ) -> None:
        self.experiment = experiment
        self.file = file
        self.probe = probe
        self.gpu = gpu
        self.tell = tell
        self.costs = _Costs()
        self.peaks: Mapping[str, Peaks] = {}
        self.works: list[_Work] = []
        self.reached(peaks)

    def reached(self, peaks: Mapping[str, Peaks]) -> None:
        """Keep the best peaks; where they are better than those so far, floors are told anew."""
        best = best_of(self.peaks, peaks)
        if best == self.peaks:
            return
        self.peaks = best
        for place, peak in best.items():
            self.file.add(Peak(place=place, flops_per_s=dict(peak.flops_per_s), bytes_per_s=peak.bytes_per_s))
        for work in self.works:
            self.file.add(work.line(best))

    def all(self, ready: Mapping[Subject, Opened]) -> None:
        for scenario in self.experiment.scenarios:
            able = {}
            for subject, made in ready.items():
                if reason := scenario.lacking(subject.family):
                    self.file.add(Absent(subject=subject.label, scenario=scenario.name, reason=reason))
                else:
                    able[subject] = made
            if able:
                self._scenario(scenario, able)

    def _scenario(self, scenario: Scenario, ready: Mapping[Subject, Opened]) -> None:
        with ExitStack() as begun:
            asked = {
                subject: begun.enter_context(scenario.begin(made.pipeline, self.experiment.pictures))
                for subject, made in ready.items()
            }
            for number in range(-self.experiment.warm_up, self.experiment.rounds):
                for subject in _in_turn(list(ready), number):
                    self._round(scenario, subject, ready[subject], asked[subject], number)
                if number >= 0:
                    measure.settle()
                    self.file.add(Probed(scenario=scenario.name, round=number, ms=self.probe.ms()))
                    self.tell(scenario.name, number + 1, self.experiment.rounds)
        if self.gpu:
            facts = self.gpu.facts()
            self.file.add(Device(scenario=scenario.name, facts=facts, throttled=self.gpu.throttled()))

    def _round(self, scenario: Scenario, subject: Subject, made: Opened, ask: Round, number: int) -> None:
        """One sample of everything; on a device a further request for the graphs, each of them waited for."""
        measure.settle()
        before = self.gpu.energy_j() if self.gpu and made.watch.on_device else None
        times, whole_ms = _watched(made, ask, number)
        after = self.gpu.energy_j() if self.gpu and before is not None else None
        if made.watch.overlaps:
            measure.settle()
            with made.watch.waiting():
                _, whole_ms = _watched(made, ask, number + self.experiment.warm_up + self.experiment.rounds)
        if number < 0:
            return
        label, name = subject.label, scenario.name
        energy = after - before if after is not None and before is not None else None
        for metric, ms in times.items():
            self.file.add(Sample(subject=label, scenario=name, metric=metric, round=number, ms=ms, energy_j=energy))
        self._parts(label, name, number, whole_ms, made.watch)
        if number == self.experiment.rounds - 1:
            self._last(label, name, whole_ms, subject, made)

    def _parts(self, label: str, name: str, number: int, whole_ms: float, watch: WatchedBackend) -> None:
        """Every graph's share of the request, and what is left, which on a device the waiting would be part of."""
        for graph, own in _by_graph(watch.calls).items():
            enqueue_ms = sum(call.enqueue_ms for call in own) if watch.overlaps else None
            self._part(label, name, graph, number, sum(call.ms for call in own), enqueue_ms)
        if not watch.overlaps:
            self._part(label, name, HOST, number, whole_ms - sum(call.ms for call in watch.calls), None)

    def _part(self, label: str, name: str, part: str, number: int, ms: float, enqueue_ms: float | None) -> None:
        facts = {"subject": label, "scenario": name, "metric": REQUEST, "part": part, "round": number, "ms": ms}
        self.file.add(Sample.model_validate({**facts, "enqueue_ms": enqueue_ms}))

    def _last(self, label: str, name: str, ms: float, subject: Subject, made: Opened) -> None:
        """Time line and work of a scenario's last round."""
        calls = made.watch.calls
        path = set(critical_path(calls))
        shown = [
            TimedCall(graph=call.graph, start_ms=call.start_ms, ms=call.ms, critical=index in path)
            for index, call in enumerate(calls)
        ]
        self.file.add(TimeLine(subject=label, scenario=name, ms=ms, calls=shown))
        place = DEVICE if made.watch.on_device else HOST_PLACE
        for graph, own in _by_graph(calls).items():
            self.works.append(_Work(label, name, graph, place, self.costs.of(subject, own)))
            self.file.add(self.works[-1].line(self.peaks))


def _watched(made: Opened, ask: Round, number: int) -> tuple[Times, float]:
    """A request that is watched from its beginning, and the milliseconds it took."""
    made.watch.begin()
    start = perf_counter()
    times = ask(number)
    return times, 1000 * (perf_counter() - start)


class _Costs:
    """Costs of calls, each counted once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, str], Cost] = {}
        self._count: CostOf | None = None

    def of(self, subject: Subject, calls: Sequence[Call]) -> "list[Cost] | str":
        """Of each call; or why they are not known."""
        found = []
        try:
            self._count = self._count or cost_counter()
            for call in calls:
                path = subject.bundle.path(subject.bundle.manifest.graph(call.graph).file)
                key = path, str(sorted(call.sizes.items()))
                if key not in self._known:
                    self._known[key] = self._count(path, call.sizes)
                found.append(self._known[key])
        except HypersegError as error:
            return str(error)
        return found


@dataclass(frozen=True)
class _Work:
    """What a graph had to do in a request, call by call, and where; or why that is not known."""

    subject: str
    scenario: str
    graph: str
    place: str
    costs: "list[Cost] | str"

    def line(self, peaks: Mapping[str, Peaks]) -> Work:
        about = {"subject": self.subject, "scenario": self.scenario, "graph": self.graph}
        if isinstance(self.costs, str):
            return Work.model_validate({**about, "calls": 0, "unknown": self.costs})
        total = sum(self.costs, Cost())
        reached = peaks.get(self.place)
        floor = reached.floor(self.costs) if reached else "no peak of this machine was measured"
        known = {"floor_ms": floor.ms, "bound": floor.bound} if isinstance(floor, Floor) else {"unknown": floor}
        flops = dict(total.flops)
        return Work.model_validate({**about, "calls": len(self.costs), "flops": flops, "bytes": total.bytes, **known})


def _by_graph(calls: Sequence[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in calls:
        found.setdefault(call.graph, []).append(call)
    return found


def _in_turn(subjects: list[Subject], number: int) -> list[Subject]:
    """Another one first each time: nobody always comes after the same one."""
    start = number % len(subjects)
    return subjects[start:] + subjects[:start]
