"""From a bundle to a quantised one that passed a task metric. Read top to bottom."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hyperseg_bench.quality.datasets.registry import Choice, open_data_set, source_of
from hyperseg_bench.quality.results import write_comparison
from hyperseg_bench.quality.run_folder import COMPARISON_PAGE
from hyperseg_bench.quality.samples import DataSet
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.jobs.progress import Progress, Silent
from hyperseg_export.jobs.staging import Staging, require_apart
from hyperseg_export.quantization.auto import CANDIDATES, choose
from hyperseg_export.quantization.calibration import calibrate
from hyperseg_export.quantization.gate import AFTER, BEFORE, Gate
from hyperseg_export.quantization.observing import Observed
from hyperseg_export.quantization.recipes import AUTO, PRESETS, RECIPES, WIDE, assign
from hyperseg_export.quantization.sensitivity import explain
from hyperseg_export.quantization.workshop import Mix, Workshop
from hyperseg_runtime.bundle.manifest import FILE_NAME, Manifest
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.quantization import CalibrationEntry, GateEntry
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.contracts.quantization import Scheme
from hyperseg_runtime.errors import GateError, InputError
from hyperseg_runtime.files.writing import output_folder, write_atomically

MARK = "quantize"


@dataclass(frozen=True)
class QuantizeOptions:
    """recipe       for all graphs; recipe_of: graph -> another one
    data            what the gate asks; without `items` all but the samples that calibration takes from its end
    calibration     what calibration asks, without what the gate asks; None: `data`
    samples         how many calibration asks
    budget          points of the task metric that may be lost
    gated           without it the bundle is made as it is, and says everywhere that it is not gated
    """

    data: Choice
    recipe: str = AUTO
    recipe_of: Mapping[str, str] = field(default_factory=dict)
    calibration: Choice | None = None
    samples: int = 32
    budget: float = 0.5
    gated: bool = True
    overwrite: bool = False
    threads: int | None = None


def gate_folder(target: Path) -> Path:
    """Where the evaluations of a quantisation lie, passed or not."""
    return target.with_name(f"{target.name}-gate")


def comparison_page(target: Path) -> Path:
    """Where the items are shown before and after, those that lost most as pictures."""
    return gate_folder(target) / AFTER / COMPARISON_PAGE


def quantize_bundle(source: Path, target: Path, options: QuantizeOptions, progress: Progress | None = None) -> Manifest:
    """Write `target`, whole or not at all, and return its manifest. After a kill the same call goes on.

    Raises GateError where the bundle would lose more than the budget, InputError for what cannot be quantised or asked,
    NumericsError for activations that are no numbers, ExportError, ResourceError, OutputError or BundleError.
    """
    progress = progress or Silent()
    require_apart(target, source)
    bundle = Bundle.open(source)
    require_quantisable(bundle)
    with output_folder(target.parent), Staging(target, options.overwrite, mark=MARK) as staging:
        staging.require_room(2 * bundle.manifest.size_bytes)
        return _Quantization(bundle, options, staging, gate_folder(target), progress).run()


def require_quantisable(bundle: Bundle) -> None:
    """Raise InputError for a bundle whose graphs cannot be rounded, with what to do instead."""
    manifest, place = bundle.manifest, bundle.directory
    if manifest.quantization is not None:
        raise InputError(
            f"bundle {place}: it is quantised already (recipe {manifest.quantization.recipe}); rounding twice adds up: "
            "quantise the bundle that it was made from"
        )
    if manifest.adapter is not None:
        raise InputError(
            f"bundle {place}: it keeps an adapter apart, which is swapped in float32 beside weights that are rounded "
            "for another one; export it with the adapter merged, then quantise"
        )
    if any(entry.precision is Precision.BF16 for entry in manifest.graphs):
        raise InputError(
            f"bundle {place}: it has bf16 graphs, which no engine of this machine can calibrate; "
            "export with --precision fp32 or fp16"
        )


def split_samples(options: QuantizeOptions) -> tuple[Choice, DataSet, list[str], Choice]:
    """What the gate asks; data and samples of calibration, none of which the gate asks, with where they are from.

    Raises InputError.
    """
    calibration = options.calibration or options.data
    if source_of(calibration) == source_of(options.data):
        return _split_one(options)
    data = open_data_set(calibration)
    judging = _shared_names(options.data, calibration) if options.gated else frozenset()
    keys = [key for key in data.keys if key not in judging][: options.samples]
    if not keys:
        raise InputError(
            f"data set {calibration.name} has no samples to calibrate with but those that judge; judge by fewer with "
            "--items, or calibrate with others by --calibrate-split or --calibrate-on"
        )
    return options.data, data, keys, calibration


def _split_one(options: QuantizeOptions) -> tuple[Choice, DataSet, list[str], Choice]:
    """Of one data set those that calibrate follow those that judge."""
    items = options.data.items
    whole = replace(options.data, items=None if items is None else items + options.samples)
    data = open_data_set(whole)
    asked = len(data.keys) - options.samples
    if asked < 1:
        raise InputError(
            f"data set {whole.name} has {len(data.keys)} samples, {options.samples} for calibration leave none for the "
            "gate; take fewer with --samples, or another data set with --calibrate-on"
        )
    return replace(options.data, items=asked), data, list(data.keys)[asked:], whole


def _shared_names(judging: Choice, calibration: Choice) -> frozenset[str]:
    """Names of samples that judge, of which `calibration` may have the pictures: data sets of the same pictures, as
    refcoco and refcoco+, name them alike. Splits of one data set share none, though files in them may be named alike.
    """
    if (judging.name, judging.folder) == (calibration.name, calibration.folder):
        return frozenset()
    return frozenset(open_data_set(judging).keys)


class _Quantization:
    def __init__(
        self, bundle: Bundle, options: QuantizeOptions, staging: Staging, place: Path, progress: Progress
    ) -> None:
        self.bundle = bundle
        self.options = options
        self.staging = staging
        self.progress = progress
        self.hints = EXPORT_FAMILIES[bundle.manifest.family].quantization
        self.specs = tuple(entry.spec for entry in bundle.manifest.graphs)
        asked, self.data, self.keys, self.choice = split_samples(options)
        emulated = any(RECIPES[name].scheme is Scheme.FP8 for name in self._recipes())
        self.gate = Gate(
            place, asked, options.budget, {"threads": options.threads, "emulated": emulated}, self._samples
        )

    def run(self) -> Manifest:
        picture = self.data.sample(self.keys[0]).frames[0]
        workshop = Workshop(self.bundle, self.staging, self.options.recipe, picture, *self._calibrated())
        if self.options.gated:
            self.progress.stage("gate: the bundle as it is", 2, 4)
            self.gate.ask_before(self.bundle.directory)
        self.progress.stage("rounding", 3, 4)
        mix = self._mix(workshop)
        manifest = workshop.manifest(mix, self._judged(workshop, mix))
        write_atomically(self.staging.directory / FILE_NAME, manifest.to_bytes())
        self.staging.commit([*manifest.files, FILE_NAME])
        return manifest

    def _recipes(self) -> set[str]:
        """Names of all that may be used."""
        of_all = self.options.recipe
        chosen = set(self.options.recipe_of.values()) & RECIPES.keys()
        if of_all == AUTO:
            return chosen | set(CANDIDATES)
        return chosen | ({PRESETS[of_all](spec) for spec in self.specs} if of_all in PRESETS else set())

    def _calibrated(self) -> tuple[Observed, CalibrationEntry | None]:
        self.progress.stage("calibration", 1, 4)
        if not any(RECIPES[name].scheme.has_ranges for name in self._recipes()):
            self.progress.note("no range is needed; nothing to calibrate")
            return {}, None
        return calibrate(
            self.bundle, self.data, self.keys, self.choice, self.hints.requests, self.staging, self.progress.phase
        )

    def _mix(self, workshop: Workshop) -> Mix:
        """The graphs as they shall be."""
        if self.options.recipe == AUTO:
            if not self.options.gated:
                raise InputError(f"--recipe {AUTO} chooses by the task metric; name a recipe, or leave --skip-gate out")
            options = self.options
            return choose(workshop, self.gate, self.hints, options.recipe_of, options.threads, self.progress)
        chosen = assign(self.specs, self.options.recipe, self.options.recipe_of, self.hints)
        mix = Mix({}, dict(chosen.kept))
        for name, recipe in chosen.recipes.items():
            mix.take(name, workshop.round(name, recipe))
        if not mix.rounded:
            raise InputError(
                f"no layer of any graph could be rounded: the requests of {self.choice.name} reached none that the "
                "recipe rounds; calibrate with a data set that the family answers"
            )
        return mix

    def _judged(self, workshop: Workshop, mix: Mix) -> GateEntry | None:
        if not self.options.gated:
            return None
        self.progress.stage("gate: the quantised bundle", 4, 4)
        entry = self.gate.judge(workshop.written(mix))
        write_comparison(self.gate.place / AFTER, self.gate.place / BEFORE, self.gate.choice)
        if entry.failures:
            reasons = explain(workshop, self.gate, mix, self.progress)
            raise GateError(
                f"the recipe {self.options.recipe} loses too much; no bundle was written:\n  "
                + "\n  ".join([*entry.failures, *reasons])
                + f"\nEvery item is in {self.gate.place}. Keep what loses as it is (--recipe-of GRAPH={WIDE}), let "
                f"--recipe {AUTO} choose, or give a larger --budget"
            )
        return entry

    def _samples(self, done: int, of: int) -> None:
        self.progress.phase("samples", done, of)
