"""The gate: a mix of graphs asked the same as the bundle they were made from, item by item."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hyperseg_bench.quality.comparison import pair_up
from hyperseg_bench.quality.datasets.registry import Choice, open_data_set
from hyperseg_bench.quality.evaluation import conditions_of, evaluate
from hyperseg_bench.quality.paired import median_overlap, paired_drops
from hyperseg_bench.quality.results import read_complete
from hyperseg_bench.quality.run_folder import RunFolder
from hyperseg_runtime.batch.subject import Subject
from hyperseg_runtime.bundle.quantization import GateEntry, MeasureEntry
from hyperseg_runtime.files.writing import output_folder

BEFORE, AFTER = "before", "after"
Tell = Callable[[int, int], None]


def in_turn(measures: Sequence[MeasureEntry]) -> list[MeasureEntry]:
    """The one that decides first, which is one of masks where there are any; of the others those that say something:
    items of a single sample have no interval.
    """
    first, *others = sorted(measures, key=lambda measure: measure.iou_to_wide is None)
    return [first, *(measure for measure in others if math.isfinite(measure.interval[0]))]


class Gate:
    """Evaluations in the folder `place`, each in one of its own; those that are complete are not made again."""

    def __init__(self, place: Path, choice: Choice, budget: float, options: dict[str, Any], tell: Tell) -> None:
        """`choice` without items stands for all; `budget` in points; `options` are the backend's."""
        self.place = place
        self.choice = choice
        self.budget = budget
        self._options = options
        self._tell = tell

    def ask_before(self, bundle: Path) -> None:
        self._evaluate(bundle, BEFORE)

    def judge(self, bundle: Path, name: str = AFTER) -> GateEntry:
        """What the bundle folder `bundle` loses against the one that `ask_before` got."""
        self._evaluate(bundle, name)
        (_, before), (_, after) = read_complete(self.place / BEFORE), read_complete(self.place / name)
        pairs = pair_up(open_data_set(self.choice).keys, before, after)
        measures = []
        for found in paired_drops(pairs):
            overlap = median_overlap([pair for pair in pairs if pair.after["measure"] == found.measure])
            measures.append(MeasureEntry(**vars(found), iou_to_wide=overlap))
        return GateEntry(
            data_set=self.choice.name, split=self.choice.split, budget=self.budget, measures=tuple(in_turn(measures))
        )

    def _evaluate(self, bundle: Path, name: str) -> None:
        folder = self.place / name
        with output_folder(folder):
            subject = Subject(bundle, options=self._options)
            wanted = conditions_of(subject, self.choice, open_data_set(self.choice).keys)
            other = not RunFolder(folder).holds(wanted)
            evaluate(subject, self.choice, folder, overwrite=other, tell=self._tell)
