"""A quantised bundle is written whole or not at all, has passed a task metric, and says how it was made."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import miniatures
from hyperseg_bench.quality.datasets.registry import Choice, open_data_set
from hyperseg_export.engine.options import BuildOptions, plan_engines
from hyperseg_export.jobs.progress import Silent
from hyperseg_export.quantization import auto, calibration, speed, workshop
from hyperseg_export.quantization import quantize as verb
from hyperseg_export.quantization.observing import ObservingBackend
from hyperseg_export.quantization.quantize import (
    QuantizeOptions,
    comparison_page,
    gate_folder,
    quantize_bundle,
    split_samples,
)
from hyperseg_runtime.bundle.manifest import FILE_NAME, Manifest
from hyperseg_runtime.bundle.opening import Bundle, describe_file, read_manifest
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import BundleError, GateError, InputError, NumericsError
from hyperseg_runtime.session.pipeline import Pipeline
from quantisation import options
from support import RunCli, family_bundle, made_once

IMAGE_GRAPHS = ("image_encoder", "clip_encoder", "fvp", "pixel_decoder", "mask_decoder")
ALL_BUT_ENCODERS = dict.fromkeys(("fvp", "llm", "lm_head", "pixel_decoder", "mask_decoder"), "wide")


@pytest.fixture(scope="module")
def passed(shared_dir: Path, trained_bundle: Path) -> Path:
    def make(folder: Path) -> None:
        quantize_bundle(trained_bundle, folder, options("int8"))

    return made_once(shared_dir / "passed-int8", make)


def test_a_bundle_that_passed_says_how(passed: Path, trained_bundle: Path) -> None:
    manifest = Bundle.open(passed).manifest
    entry = manifest.quantization
    assert entry is not None and entry.verdict == "passed" and entry.gate is not None and entry.calibration is not None
    first, second = entry.gate.measures
    assert (first.measure, first.metric, second.measure) == ("expressions", "iou", "questions")
    assert first.interval[0] <= first.drop <= first.interval[1] <= 10
    assert first.iou_to_wide is not None and first.iou_to_wide > 0.95 and second.iou_to_wide is None
    assert set(entry.calibration.calls) == set(manifest.rounded_graphs())
    assert manifest.rounded_graphs() == [g.spec.name for g in manifest.graphs if not g.spec.exact]
    assert manifest.size_bytes < 0.5 * read_manifest(trained_bundle).size_bytes
    assert {path.relative_to(passed).as_posix() for path in passed.rglob("*") if path.is_file()} == {
        *manifest.files,
        FILE_NAME,
    }
    page = comparison_page(passed).read_text()
    assert "What lost most" in page


def test_it_is_shown_wherever_the_bundle_is(passed: Path, run_cli: RunCli, tmp_path: Path, coffee: Path) -> None:
    shown = run_cli("inspect", passed).out
    assert "int8 (rest fp32)" in shown and "passed:" in shown and "points lost" in shown
    run_cli("run", passed, coffee, "the red circle", "--report", "--out", tmp_path)
    page = (tmp_path / "coffee.jpg.report.html").read_text()
    assert "recipe int8; passed" in page and "int8 (rest fp32)" in page and "points lost" in page


def test_calibration_on_foreign_pictures_fails_and_writes_nothing(
    trained_bundle: Path, passed: Path, tmp_path: Path
) -> None:
    """A grey picture tells nothing of scenes; by a part of them the same recipe passed."""
    pictures, target = tmp_path / "pictures", tmp_path / "target" / "bundle"
    miniatures.refcoco(pictures)
    asked = options("int8", recipe_of=ALL_BUT_ENCODERS, calibration=Choice("refcoco", str(pictures)))
    with pytest.raises(GateError, match="loses too much") as failure:
        quantize_bundle(trained_bundle, target, asked)
    said = str(failure.value)
    assert "expressions lost" in said and "image_encoder (int8) alone:" in said and "most by" in said
    assert str(gate_folder(target)) in said
    assert [path.name for path in target.parent.iterdir()] == ["bundle-gate"]


@pytest.mark.full
def test_every_graph_in_four_bits_fails(trained_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1.3 points of mean IoU, more than the budget. Which graph is to blame takes minutes more."""
    monkeypatch.setattr(verb, "explain", lambda *_: [])
    asked = QuantizeOptions(
        Choice("shapes", items=250), "int4", recipe_of=dict.fromkeys(IMAGE_GRAPHS, "int4"), budget=0.5, threads=1
    )
    with pytest.raises(GateError, match="expressions lost 1"):
        quantize_bundle(trained_bundle, tmp_path / "out", asked)


def test_a_bundle_that_is_not_gated_says_so_everywhere(
    rounded_bundle: Callable[[str], Path], run_cli: RunCli, tmp_path: Path
) -> None:
    bundle = rounded_bundle("int8")
    assert "not gated: no task metric" in run_cli("inspect", bundle).out
    manifest = read_manifest(bundle)
    with pytest.raises(BundleError, match=r"not gated.*--accept-ungated llm"):
        manifest.require_gated()
    manifest.require_gated(manifest.rounded_graphs())
    with pytest.raises(BundleError, match="quantised graphs fvp are not gated"):
        manifest.require_gated(["llm"], ["llm", "fvp"])
    refused = run_cli("serve", "init", bundle, "--out", tmp_path / "repository")
    assert refused.code == BundleError.exit_code and "--accept-ungated" in refused.err
    assert not (tmp_path / "repository").exists()


def test_a_quantised_bundle_is_not_quantised_again(rounded_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"quantised already \(recipe int8\)"):
        quantize_bundle(rounded_bundle("int8"), tmp_path / "again", options("int8"))
    assert not list(tmp_path.iterdir())


def test_no_samples_are_left_for_the_gate(trained_bundle: Path, tmp_path: Path) -> None:
    asked = QuantizeOptions(Choice("shapes"), "int8", samples=500)
    with pytest.raises(InputError, match="has 500 samples, 500 for calibration leave none"):
        quantize_bundle(trained_bundle, tmp_path / "out", asked)


@pytest.mark.parametrize(
    ("judging", "calibration"),
    [
        (Choice("shapes", items=8), Choice("shapes")),
        (Choice("shapes"), Choice("shapes")),
        (Choice("shapes", items=8), Choice("shapes-classes")),  # the same scenes
    ],
)
def test_what_calibrates_does_not_judge(judging: Choice, calibration: Choice) -> None:
    asked, data, keys, _ = split_samples(QuantizeOptions(judging, calibration=calibration, samples=2))
    assert len(keys) == 2 and set(keys) <= set(data.keys)
    assert not set(keys) & set(open_data_set(asked).keys)


def test_samples_that_all_judge_calibrate_only_where_nothing_is_judged() -> None:
    asked = QuantizeOptions(Choice("shapes"), calibration=Choice("shapes-classes"), samples=2)
    with pytest.raises(InputError, match=r"shapes-classes has no samples .* but those that judge; .* --items"):
        split_samples(asked)
    assert len(split_samples(replace(asked, gated=False))[2]) == 2


def test_another_split_is_another_source(tmp_path: Path) -> None:
    """Splits share no picture; here their samples have one name."""
    miniatures.refcoco(tmp_path)
    judging, calibration = Choice("refcoco", str(tmp_path)), Choice("refcoco", str(tmp_path), "testA")
    asked, _, keys, of = split_samples(QuantizeOptions(judging, calibration=calibration))
    assert (asked, keys, of) == (judging, ["9"], calibration)


def test_a_data_set_without_samples_calibrates_nothing(trained_bundle: Path, tmp_path: Path) -> None:
    miniatures.refcoco(tmp_path / "pictures")
    references = tmp_path / "pictures" / "refcoco" / "refs(unc).p"
    references.write_bytes(pickle.dumps([], protocol=0))
    asked = options("int8", calibration=Choice("refcoco", str(tmp_path / "pictures")))
    with pytest.raises(InputError, match="refcoco"):
        quantize_bundle(trained_bundle, tmp_path / "out", asked)
    assert not (tmp_path / "out").exists()


def test_calibration_that_reaches_no_graph_rounds_nothing(
    trained_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> ObservingBackend:
        return ObservingBackend()

    monkeypatch.setattr(calibration.Observer, "ask", nothing)
    with pytest.raises(InputError, match="no layer of any graph could be rounded"):
        quantize_bundle(trained_bundle, tmp_path / "out", options("int8", gated=False))


def test_numbers_that_are_none_end_calibration(trained_bundle: Path, tmp_path: Path) -> None:
    """A weight of the clip encoder that is no number: the language model refuses what follows from it."""
    broken = Path(shutil.copytree(trained_bundle, tmp_path / "broken"))
    path = broken / "graphs" / "fvp.onnx"
    tensor = next(t for t in onnx.load(path, load_external_data=False).graph.initializer if t.external_data)
    place = {entry.key: entry.value for entry in tensor.external_data}
    data = broken / "graphs" / place["location"]
    content = bytearray(data.read_bytes())
    content[int(place["offset"]) : int(place["offset"]) + 4] = np.float32("nan").tobytes()
    data.write_bytes(content)
    content_of = json.loads((broken / FILE_NAME).read_text())
    content_of["files"][f"graphs/{place['location']}"] = describe_file(data).model_dump()
    (broken / FILE_NAME).write_text(json.dumps(content_of))
    with pytest.raises(NumericsError):
        quantize_bundle(broken, tmp_path / "out", options("int8", gated=False))
    assert not (tmp_path / "out").exists()


def test_a_killed_run_goes_on_where_it_stopped(
    trained_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite, made = workshop.rewrite, []

    def killed_at_the_third(*arguments: object) -> object:
        made.append(arguments)
        if len(made) == 3:
            raise KeyboardInterrupt
        return rewrite(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(workshop, "rewrite", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        quantize_bundle(trained_bundle, tmp_path / "out", options("int8", gated=False))
    assert not (tmp_path / "out").exists()
    before = len(made)

    def no_calibration(*_: object) -> ObservingBackend:
        raise AssertionError("calibrated again")

    monkeypatch.setattr(calibration.Observer, "ask", no_calibration)
    manifest = quantize_bundle(trained_bundle, tmp_path / "out", options("int8", gated=False))
    assert len(made) - before == len(manifest.rounded_graphs()) - 2
    assert Bundle.open(tmp_path / "out").manifest == manifest


def test_what_a_killed_run_copied_from_another_bundle_is_copied_again(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs of other weights have equal sizes. Copies are down on the disk."""
    flushed: set[int] = set()
    monkeypatch.setattr("os.fsync", lambda handle: flushed.add(os.fstat(handle).st_ino))
    before, target = read_manifest(tiny_bundle), tmp_path / "out"
    (name,) = before.graph("fvp").data_files
    stale = tmp_path / ".out.quantize" / name
    stale.parent.mkdir(parents=True)
    stale.write_bytes(bytes(before.files[name].size_bytes))
    asked = options("int8-dynamic", recipe_of={"fvp": "wide"}, gated=False)
    manifest = quantize_bundle(tiny_bundle, target, asked)
    assert Bundle.open(target).manifest == manifest
    assert {(target / file).stat().st_ino for file in manifest.files.keys() & before.files.keys()} <= flushed


def test_a_killed_calibration_keeps_every_sample_and_tells_of_every_call(
    trained_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked = calibration.Observer.ask, []

    def killed_at_the_third(self: calibration.Observer, key: str, tell: Callable[[str], None]) -> object:
        asked.append(key)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(self, key, tell)

    class Heard(Silent):
        def phase(self, name: str, step: int, steps: int) -> None:
            heard.append((name, step, steps))

    heard: list[tuple[str, int, int]] = []
    monkeypatch.setattr(calibration.Observer, "ask", killed_at_the_third)
    chosen = options("int8", gated=False, samples=4)
    with pytest.raises(KeyboardInterrupt):
        quantize_bundle(trained_bundle, tmp_path / "out", chosen, Heard())
    assert ("samples", 2, 4) in heard and ("llm runs; samples", 1, 4) in heard
    quantize_bundle(trained_bundle, tmp_path / "out", chosen)
    assert asked[2] == asked[3] and len(asked) == len(set(asked)) + 1 == 5


def test_a_budget_that_nothing_meets_writes_nothing(
    trained_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every form takes half of the time, so that what is left to fail is the budget."""
    monkeypatch.setattr(auto, "time_ratio", lambda *_: 0.5)
    monkeypatch.setattr(auto, "LEFT_WIDE", ())
    wide = dict.fromkeys(("image_encoder", "fvp", "llm", "lm_head", "pixel_decoder"), "wide")
    with pytest.raises(GateError, match=r"no graph can be rounded within 0\.0001 points"):
        quantize_bundle(trained_bundle, tmp_path / "out", options("auto", recipe_of=wide, budget=1e-4))
    assert [path.name for path in tmp_path.iterdir()] == ["out-gate"]


def test_auto_takes_what_wins_time_and_stays_within_the_budget(
    trained_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"llm.int8": 0.95, "llm.int4": 0.4, "lm_head.int8": 1.2, "lm_head.int4": 0.99}
    measured = auto.time_ratio

    def stated(spec: GraphSpec, before: Path, after: Path, recorded: Path, threads: int | None) -> float:
        assert measured(spec, before, after, recorded, threads) > 0
        return times[after.stem]

    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(auto, "time_ratio", stated)
    wide = dict.fromkeys(("image_encoder", "clip_encoder", "fvp", "pixel_decoder", "mask_decoder"), "wide")
    manifest: Manifest = quantize_bundle(trained_bundle, tmp_path / "out", options("auto", recipe_of=wide))
    assert manifest.rounded_graphs() == ["llm"]
    rounded = manifest.graph("llm").rounded
    assert rounded is not None and (str(rounded.scheme), rounded.time_ratio) == ("int4", 0.4)
    assert manifest.quantization is not None
    assert manifest.quantization.kept["lm_head"] == "int8: takes 1.20 of its time; int4: takes 0.99 of its time"


@pytest.mark.full
def test_auto_by_times_of_this_machine(trained_bundle: Path, tmp_path: Path) -> None:
    """Which graphs win is the processor's to say; each either won a tenth of its time or says what it took."""
    asked = QuantizeOptions(Choice("shapes", items=60), "auto", budget=2.0, threads=1)
    manifest = quantize_bundle(trained_bundle, tmp_path / "out", asked)
    entry = manifest.quantization
    assert entry is not None and entry.verdict == "passed"
    for graph in manifest.graphs:
        ratio = graph.rounded.time_ratio if graph.rounded else None
        assert graph.spec.name in entry.kept if ratio is None else ratio <= auto.WORTH


def test_the_dynamic_form_needs_no_calibration_and_no_gpu(rounded_bundle: Callable[..., Path], run_cli: RunCli) -> None:
    bundle = rounded_bundle("int8-dynamic")
    manifest = read_manifest(bundle)
    assert manifest.quantization is not None and manifest.quantization.calibration is None
    assert "ranges by each call" in run_cli("inspect", bundle).out
    with pytest.raises(InputError, match=r"llm.*TensorRT has no operators.*recipe int8"):
        plan_engines(manifest, ["llm"], BuildOptions())
    with Pipeline.load(bundle, threads=1) as pipeline:
        assert pipeline(np.zeros((40, 60, 3), np.uint8), "the red circle").mask.shape == (40, 60)


@pytest.mark.slow
def test_the_other_family_goes_the_same_way(shared_dir: Path, tmp_path: Path) -> None:
    bundle = family_bundle(shared_dir, "unilseg")
    manifest = quantize_bundle(bundle, tmp_path / "out", options("int8", gated=False))
    assert manifest.rounded_graphs() == [entry.spec.name for entry in manifest.graphs if not entry.spec.exact]
    with Pipeline.load(tmp_path / "out", threads=1) as pipeline:
        assert pipeline(np.zeros((40, 60, 3), np.uint8), "a dog").mask.shape == (40, 60)
