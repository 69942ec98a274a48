"""What every family must keep; a new one is tested by registering.

A capability is either declared and works, or lacked with one sentence that says why.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperseg_export.engine.build import build_engines
from hyperseg_export.engine.options import BuildOptions
from hyperseg_export.export import write_graph
from hyperseg_export.families.family import RANDOM_SIZES, ExportFamily
from hyperseg_export.families.registry import detect_family
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity.compare import mask_disagreement, worst_error
from hyperseg_export.parity.golden import MODULES
from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_export.parity.tolerances import FEATURE, MASK_IOU
from hyperseg_export.precision.typed import choose_precisions, typed_model
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import Reuse
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.contracts.requests import REQUEST_KINDS, Classes, Expressions, Question, Regions, Request
from hyperseg_runtime.contracts.results import Instances, Result, SemanticMap
from hyperseg_runtime.errors import InputError, PromptError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import VIDEO, FamilySpec, VideoRequest, warm_up
from hyperseg_runtime.session.pipeline import OpenedGraphs, Pipeline
from support import doubled, golden_report, others_in_full

LONG = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=others_in_full(name)) for name in FAMILIES], scope="session"
)
"""Of every family only in the long run."""
TEXTS = ("the cup", "a spoon on the saucer")
EXAMPLES: Mapping[str, Request] = {
    Expressions.kind: Expressions(TEXTS),
    Classes.kind: Classes(("cup", "table")),
    Regions.kind: Regions(boxes_xyxy=((100.0, 100.0, 300.0, 300.0),)),
    Question.kind: Question("What is there?", max_tokens=2),
}
FRAMES: Mapping[str, tuple[VideoRequest, VideoRequest, int]] = {
    Expressions.kind: (Expressions(TEXTS), Expressions(TEXTS), len(TEXTS)),
    Classes.kind: (Classes(("cup", "table")), Classes(("cup", "table")), 1),
    Regions.kind: (Regions(points_xy=((200.0, 150.0),), boxes_xyxy=((100.0, 100.0, 300.0, 300.0),)), Regions(), 2),
}
"""What is asked of a first frame and of those that follow, and the number of results."""


def same(found: list[Result], expected: list[Result]) -> bool:
    """Equal in everything but times and what was reused."""
    assert all(isinstance(result, Instances) for result in (*found, *expected))
    return len(found) == len(expected) and all(
        isinstance(a, Instances)
        and isinstance(b, Instances)
        and (a.asked, a.labels, a.task) == (b.asked, b.labels, b.task)
        and np.array_equal(a.masks, b.masks)
        and np.allclose(a.scores, b.scores, atol=1e-5)
        for a, b in zip(found, expected, strict=True)
    )


def names_of(bundle: Bundle) -> set[str]:
    return {graph.spec.name for graph in bundle.manifest.graphs}


def test_it_says_what_it_is(family: FamilySpec, name: str) -> None:
    assert family.name == name
    assert all((family.title, family.paper, family.licence, family.tasks, family.warm_up, family.data_sets))
    names = [task.name for task in (*family.tasks, *family.video_tasks)]
    assert len(set(names)) == len(names) and all(task.about for task in family.tasks)
    assert family.answers(Expressions), "every family segments what an expression refers to"


def test_every_capability_is_declared_or_lacked_with_a_reason(family: FamilySpec) -> None:
    declared = {task.request.kind for task in family.tasks} | ({VIDEO} if family.video_tasks else set())
    assert declared | set(family.lacks) == {*REQUEST_KINDS, VIDEO}
    assert not declared & set(family.lacks)
    assert all(family.lacks.values())


def test_the_checkpoint_is_known_by_its_names(
    name: str, export_family: ExportFamily, family_checkpoint_dir: Path
) -> None:
    opened = open_checkpoint(family_checkpoint_dir)
    assert opened.family is export_family is detect_family(opened.checkpoint.names)
    assert opened.coverage().loaded_bytes > 0


def test_the_export_is_measured_and_passes(family: FamilySpec, family_bundle_dir: Path) -> None:
    manifest = Bundle.open(family_bundle_dir).manifest
    assert manifest.parity and all(entry.passed for entry in manifest.parity)
    specs = family.graph_specs(manifest.dimensions)
    assert [graph.spec for graph in manifest.graphs] == list(specs)
    compared = {(entry.graph, entry.output) for entry in manifest.parity}
    assert compared == {(spec.name, output) for spec in specs for output in spec.output_names()}
    for file in family.files:
        assert file in manifest.files


def test_random_models_have_the_contracts_of_the_published_one(family: FamilySpec, export_family: ExportFamily) -> None:
    published = family.graph_specs(family.published)
    for size in RANDOM_SIZES:
        model = export_family.random.model(size, 0)
        assert [spec.name for spec in model.specs] == [spec.name for spec in published]
        assert set(model.tables) == set(family.tables(family.published))


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_a_kind_of_request_is_answered_or_refused_by_name(
    family: FamilySpec, family_pipeline: Pipeline, pixels: np.ndarray, kind: str
) -> None:
    request = EXAMPLES[kind]
    with family_pipeline.open(pixels) as session:
        if kind in family.lacks:
            with pytest.raises(InputError) as refused:
                session.ask(request) if isinstance(request, Question) else session.run(request)
            assert family.title in str(refused.value) and family.lacks[kind] in str(refused.value)
            assert Expressions.kind in str(refused.value)  # what it does answer
        elif isinstance(request, Question):
            assert len(session.ask(request).finished().token_ids) in (1, 2)
        else:
            for result in session.run(request):
                assert isinstance(result, Instances)
                assert result.masks.shape[1:] == pixels.shape[:2]
                assert result.task in family.answers(type(request))
                assert result.timings_ms and result.to_json()["kind"] == "instances"


def test_tasks_without_scores_are_declared_and_take_no_least_score(
    family: FamilySpec, family_pipeline: Pipeline, pixels: np.ndarray
) -> None:
    with family_pipeline.open(pixels[:96, :128]) as session:
        for task in (one for one in family.tasks if one.request is Classes):
            found = session.segment_classes(("cup", "table"), task.name, (True, False))
            assert isinstance(found, SemanticMap) != task.scored
            if not task.scored:
                with pytest.raises(InputError, match=f"the task {task.name} gives no scores"):
                    session.segment_classes(("cup", "table"), task.name, min_score=0.5)


def test_a_second_request_runs_no_image_graph_and_changes_nothing(
    family: FamilySpec, family_bundle_dir: Path, pixels: np.ndarray
) -> None:
    bundle = Bundle.open(family_bundle_dir)
    image_graphs = {graph.spec.name for graph in bundle.manifest.graphs if graph.spec.reuse is Reuse.IMAGE}
    text_graphs = {graph.spec.name for graph in bundle.manifest.graphs if graph.spec.reuse is Reuse.TEXT}
    with OnnxRuntimeBackend(threads=1) as backend:
        graphs = RecordingGraphs(OpenedGraphs(bundle, backend))
        model = family.open_model(bundle, graphs, backend)
        first = family.with_task(Expressions(TEXTS[:1]))
        second = family.with_task(Expressions(TEXTS[1:]))
        kept = model.open(pixels)
        model.segment(kept, first)
        graphs.calls.clear()
        found = model.segment(kept, second)
        assert image_graphs and not image_graphs & {name for name, calls in graphs.calls.items() if calls}
        graphs.calls.clear()
        again = model.segment(kept, second)
        assert not (image_graphs | text_graphs) & {name for name, calls in graphs.calls.items() if calls}
        alone = model.segment(model.open(pixels), second)
    assert same(found, alone) and same(again, alone)


def test_an_image_computed_elsewhere_gives_the_same_masks(
    family: FamilySpec, family_bundle_dir: Path, pixels: np.ndarray
) -> None:
    """As Triton's ensemble does: the image graphs run as models of their own, on what `image_inputs` makes."""
    bundle = Bundle.open(family_bundle_dir)
    request = family.with_task(Expressions(TEXTS))
    with OnnxRuntimeBackend(threads=1) as backend:
        graphs = OpenedGraphs(bundle, backend)
        model = family.open_model(bundle, graphs, backend)
        known = {name: backend.upload(array) for name, array in family.image_inputs(bundle)(pixels).items()}
        specs = [graph.spec for graph in bundle.manifest.graphs]
        for spec in (spec for spec in specs if spec.reuse is Reuse.IMAGE):
            known |= graphs[spec.name].run({name: known[name] for name in spec.input_names()})
        height, width = pixels.shape[:2]
        handed = {tensor.name: known[tensor.name] for tensor in family.computed_outputs(specs)}
        computed = model.open_computed(handed, (height, width))
        assert same(model.segment(computed, request), model.segment(model.open(pixels), request))


class FarFromTheHost(OnnxRuntimeBackend):
    """Some graphs only run where tensors are far away: they bring less to the host."""

    on_device = images_on_device = True


def test_masks_are_the_same_wherever_they_are_read(
    family: FamilySpec, family_bundle_dir: Path, family_pipeline: Pipeline, pixels: np.ndarray
) -> None:
    """By the host's search, and by a graph: to the last pixel; scores are sums in another order."""
    bundle = Bundle.open(family_bundle_dir)
    request = family.with_task(Expressions(TEXTS))
    with FarFromTheHost(threads=1) as backend, family_pipeline.open(pixels) as session:
        model = family.open_model(bundle, OpenedGraphs(bundle, backend), backend)
        for found, expected in zip(model.segment(model.open(pixels), request), session.run(request), strict=True):
            assert isinstance(expected, Instances)
            assert np.array_equal(found.masks, expected.masks)
            assert np.abs(found.scores - expected.scores).max() <= 1e-6


def test_the_warm_up_uses_every_graph(family: FamilySpec, family_bundle_dir: Path, pixels: np.ndarray) -> None:
    bundle = Bundle.open(family_bundle_dir)
    with FarFromTheHost(threads=1) as backend:
        for ask in (lambda m: warm_up(family, m, m.open(pixels)), lambda m: m.exercise(pixels)):
            graphs = RecordingGraphs(OpenedGraphs(bundle, backend))
            model: Any = family.open_model(bundle, graphs, backend)
            ask(model)
            assert {name for name, calls in graphs.calls.items() if calls} == names_of(bundle)


def test_a_batch_is_its_rows(family: FamilySpec, family_bundle_dir: Path, pixels: np.ndarray) -> None:
    """Every graph, on two real calls put together: no row sees the other one."""
    bundle = Bundle.open(family_bundle_dir)
    with OnnxRuntimeBackend(threads=1) as backend:
        graphs = RecordingGraphs(OpenedGraphs(bundle, backend))
        model = family.open_model(bundle, graphs, backend)
        for image in (pixels, np.ascontiguousarray(pixels[::-1, :, ::-1])):
            model.exercise(image)
        for entry in bundle.manifest.graphs:
            one, other = graphs.calls[entry.spec.name][:1] + graphs.calls[entry.spec.name][-1:]
            stacked = {
                tensor.name: np.concatenate([one.inputs[tensor.name], other.inputs[tensor.name]])
                if tensor.axes[0] == "batch"
                else one.inputs[tensor.name]
                for tensor in entry.spec.inputs
            }
            made = graphs.graphs[entry.spec.name].run({name: backend.upload(a) for name, a in stacked.items()})
            for name, buffer in made.items():
                expected = np.concatenate([one.outputs[name], other.outputs[name]])
                error = worst_error(buffer.to_host(), expected)
                assert error <= FEATURE, (entry.spec.name, name, error)


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 30_000, "\ud800"])
def test_text_that_nobody_can_have_meant_is_refused(family_pipeline: Pipeline, pixels: np.ndarray, text: str) -> None:
    with family_pipeline.open(pixels) as session, pytest.raises(PromptError):
        session.segment(text)


@pytest.mark.parametrize("kind", (Expressions.kind, Classes.kind, Question.kind))
def test_what_would_be_refused_can_be_known_before_any_work(
    family: FamilySpec, family_pipeline: Pipeline, kind: str
) -> None:
    """In every task, and whatever stands before the text that is wrong."""
    wrong: dict[str, Request] = {
        Expressions.kind: Expressions(("the cup", "x" * 30_000)),
        Classes.kind: Classes(("cup", "x" * 30_000)),
        Question.kind: Question("x" * 30_000),
    }
    for task in (task for task in family.tasks if task.request.kind == kind):
        right = {Expressions.kind: Expressions((task.form or TEXTS[0],))}.get(kind, EXAMPLES[kind])
        family_pipeline.check(replace(right, task=task.name))
        with pytest.raises(PromptError):
            family_pipeline.check(replace(wrong[kind], task=task.name))


def test_a_task_with_a_form_refuses_other_texts_with_an_example(family: FamilySpec, family_pipeline: Pipeline) -> None:
    for task in (task for task in family.tasks if task.form):
        with pytest.raises(PromptError) as refused:
            family_pipeline.check(Expressions(TEXTS, task.name))
        assert repr(TEXTS[0]) in str(refused.value) and repr(task.form) in str(refused.value)


def test_videos_are_pushed_or_refused(family: FamilySpec, family_pipeline: Pipeline, pixels: np.ndarray) -> None:
    if not family.video_tasks:
        with pytest.raises(InputError, match=family.title):
            family_pipeline.open_video()
        return
    for task in family.video_tasks:
        video = family_pipeline.open_video()
        first, later, results = FRAMES[task.request.kind]
        asked = [replace(one, task=task.name) for one in (first, later, later)]
        ready = [one for request in asked for one in video.push(pixels, request)] + video.finish()
        assert [one.frame for one in ready] == [0, 1, 2]
        assert all(len(one.results) == results for one in ready)
    for other, *_ in FRAMES.values():
        if not family.video_answers(type(other)):
            with pytest.raises(InputError, match=f"{family.title} does not answer {other.kind} about videos"):
                family_pipeline.open_video().push(pixels, other)


def test_arrays_of_the_original_code(name: str, shared_dir: Path) -> None:
    """On the modules; graphs equal those (above), and are compared too by the tests of each family."""
    report = golden_report(shared_dir, name, MODULES)
    assert report.compared and not report.failures


@pytest.mark.slow
@LONG
def test_engines_give_the_same_masks(
    family_bundle_dir: Path, family_pipeline: Pipeline, pixels: np.ndarray, tmp_path: Path
) -> None:
    """`build` and the backend, with doubles of TensorRT and CUDA."""
    bundle = Path(shutil.copytree(family_bundle_dir, tmp_path / "bundle"))
    with doubled():
        manifest = build_engines(bundle, BuildOptions())
        assert {entry.graph for entry in manifest.engines} == {
            g.spec.name for g in family_pipeline.bundle.manifest.graphs
        }
        assert all(entry.parity and all(row.passed for row in entry.parity) for entry in manifest.engines)
        with Pipeline.load(bundle, "tensorrt") as engines, engines.open(pixels) as session:
            found = session.run(Expressions(TEXTS))
    with family_pipeline.open(pixels) as session:
        assert same(found, session.run(Expressions(TEXTS)))


@LONG
@pytest.mark.filterwarnings("ignore:graph .* run by ONNX Runtime")
def test_openvino_gives_the_same_masks(family_bundle_dir: Path, family_pipeline: Pipeline, pixels: np.ndarray) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    with (
        Pipeline.load(family_bundle_dir, "openvino", threads=1, low_memory=True) as other,
        other.open(pixels) as session,
    ):
        found = session.run(Expressions(TEXTS))
    with family_pipeline.open(pixels) as session:
        for one, expected in zip(found, session.run(Expressions(TEXTS)), strict=True):
            assert isinstance(one, Instances) and isinstance(expected, Instances)
            assert np.allclose(one.scores, expected.scores, atol=1e-5)
            assert mask_disagreement(one.masks, expected.masks, 0.5) <= MASK_IOU["fp32"]


@pytest.mark.full
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("name", FAMILIES, scope="session")
def test_typed_graphs_pass_the_lint(export_family: ExportFamily, precision: Precision, tmp_path: Path) -> None:
    """Every graph of the smallest model in half precision: exported, linted, its types inferred anew."""
    model = export_family.random.model("small", 0)
    typed = typed_model(model, choose_precisions(model.specs, precision))
    for spec in typed.specs:
        write_graph(typed, spec, tmp_path, {}, Precision.FP32 if spec.exact else precision)
