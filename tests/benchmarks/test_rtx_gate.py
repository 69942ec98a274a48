"""Small graphs through the gate, every graph in every precision; the script itself also takes the published widths."""

import json
import shutil
from pathlib import Path

import onnx
import pytest
import rtx_gate

from hyperseg_export.engine.profiles import Profile
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.precision.typed import choose_precisions
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.contracts.graph_spec import Reuse
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.families import FAMILIES
from support import FIRST_FAMILY, family_bundle

GRAPHS = [(name, spec.name) for name, family in FAMILIES.items() for spec in family.graph_specs(family.published)]
MARKS = {(FIRST_FAMILY, "mask_decoder"): ()} | {
    (FIRST_FAMILY, graph): (pytest.mark.slow,) for graph in ("preprocess", "clip_encoder", "lm_head", "mask_readout")
}
"""Of graphs that are not for the long run alone; the language model and the pixel decoder are in other tests too."""
ARCHITECTURES = list(rtx_gate.ARCHITECTURES)


def build(
    bundle: Path, graph: str, scratch: Path, profiles: int = 1, form: rtx_gate.Form = rtx_gate.Form.USUAL
) -> dict[str, object]:
    manifest = read_manifest(bundle)
    entry = manifest.graph(graph)
    spec = scratch / "spec.json"
    spec.write_text(entry.spec.model_dump_json())
    return rtx_gate.run_child(bundle / entry.file, spec, profiles, ARCHITECTURES, manifest.family, form)


@pytest.mark.full
@pytest.mark.parametrize(("family", "graph"), GRAPHS)
def test_every_graph_builds_in_fp32(shared_dir: Path, tmp_path: Path, family: str, graph: str) -> None:
    row = build(family_bundle(shared_dir, family), graph, tmp_path)
    assert row["built"], row["error"]
    assert row["plan_bytes"] > 0


@pytest.mark.parametrize(
    ("family", "graph"),
    [pytest.param(*row, marks=MARKS.get(row, (pytest.mark.full,))) for row in GRAPHS],
)
def test_every_graph_builds_in_mixed_precision(mixed_bundle: Path, tmp_path: Path, family: str, graph: str) -> None:
    """Where a head is as wide as the published one's, its attention has a fused kernel."""
    if family == FIRST_FAMILY:
        row = build(mixed_bundle, graph, tmp_path)
    else:
        model = EXPORT_FAMILIES[family].random.model("small", 0)
        precision = choose_precisions(model.specs, "mixed").graphs[graph]
        ((path, _),) = rtx_gate.export_typed(model, precision, tmp_path, [graph])
        row = rtx_gate.run_child(path, path.with_suffix(".json"), 1, ARCHITECTURES, family)
    assert row["built"], row["error"]
    (spec,) = (one for one in FAMILIES[family].graph_specs(FAMILIES[family].published) if one.name == graph)
    assert row["decomposed_attention"] == 0 or spec.reuse is not Reuse.TEXT


def test_the_language_model_builds_with_all_its_profiles(mixed_bundle: Path, tmp_path: Path) -> None:
    row = build(mixed_bundle, "llm", tmp_path, profiles=3)
    assert row["built"], row["error"]
    assert row["decomposed_attention"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("graph", "form"),
    [
        ("llm", rtx_gate.Form.WRITTEN_OUT),
        ("llm", rtx_gate.Form.FILLED_UP),
        ("mask_decoder", rtx_gate.Form.FILLED_UP),
        ("pixel_decoder", rtx_gate.Form.SUMMED),
    ],
)
def test_the_other_forms_build(mixed_bundle: Path, tmp_path: Path, graph: str, form: rtx_gate.Form) -> None:
    row = build(mixed_bundle, graph, tmp_path, form=form)
    assert row["built"], row["error"]


def test_calls_are_filled_up_to_a_size_within_the_profile() -> None:
    family = FAMILIES[FIRST_FAMILY]
    ranges = {spec.name: spec.axis_ranges for spec in family.graph_specs(family.published)}
    profile = Profile("any", ranges["llm"])
    tokens = rtx_gate.filled_up(profile).axes["tokens"]
    assert tokens.minimum == tokens.maximum == 1088 and profile.axes["tokens"].typical == 1040


@pytest.mark.full
@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_form_of_every_graph_builds(tmp_path: Path, family: str, precision: Precision) -> None:
    model = EXPORT_FAMILIES[family].random.model("small", 0)
    built = []
    for path, spec in rtx_gate.export_typed(model, precision, tmp_path):
        for form in rtx_gate.other_forms(path, spec):
            row = rtx_gate.run_child(path, path.with_suffix(".json"), 1, ARCHITECTURES, family, form)
            assert row["built"], (spec.name, form, row["error"])
            built.append(form)
    assert rtx_gate.Form.WRITTEN_OUT in built


@pytest.mark.full
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_mixed_leaves_out_builds_too(tmp_path: Path, family: str, precision: Precision) -> None:
    """With the tests above, every graph in every precision."""
    model = EXPORT_FAMILIES[family].random.model("small", 0)
    mixed = choose_precisions(model.specs, "mixed").graphs
    graphs = [spec.name for spec in model.specs if mixed[spec.name] is not precision]
    if graphs:
        exported = rtx_gate.export_typed(model, precision, tmp_path, graphs)
        rows = [rtx_gate.run_child(path, path.with_suffix(".json"), 1, ARCHITECTURES, family) for path, _ in exported]
        assert len(rows) == len(graphs)
        assert all(row["built"] for row in rows), [row["error"] for row in rows if not row["built"]]


@pytest.fixture
def broken(mixed_bundle: Path, tmp_path: Path) -> Path:
    """A language head whose weight has another type than its input; its contract beside it."""
    for file in (mixed_bundle / "graphs").glob("lm_head.*"):
        shutil.copy(file, tmp_path)
    path = tmp_path / "lm_head.onnx"
    path.with_suffix(".json").write_text(read_manifest(mixed_bundle).graph("lm_head").spec.model_dump_json())
    model = onnx.load(path, load_external_data=False)
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    casts[0].attribute[0].i = onnx.TensorProto.FLOAT
    path.write_bytes(model.SerializeToString())
    return path


def test_a_mixed_pair_of_operands_is_refused(broken: Path) -> None:
    row = rtx_gate.run_child(broken, broken.with_suffix(".json"), 1, ["SM89"], FIRST_FAMILY)
    assert not row["built"]
    assert "lm_head" in row["error"] and "MatMul" in row["error"]


def test_a_crash_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "gone.json").write_text("{}")
    row = rtx_gate.run_child(tmp_path / "gone.onnx", tmp_path / "gone.json", 1, ["SM89"], FIRST_FAMILY)
    assert not row["built"] and "ended with 1" in row["error"]


def test_rows_that_are_stored_are_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = EXPORT_FAMILIES[FIRST_FAMILY].random.model("small", 0)
    monkeypatch.setattr(rtx_gate, "export_typed", lambda *_: [(tmp_path / "any.onnx", model.specs[0])])
    monkeypatch.setattr(rtx_gate, "other_forms", lambda *_: [rtx_gate.Form.SUMMED])
    monkeypatch.setattr(rtx_gate, "run_child", lambda *_: {"built": True})
    rows = [tuple(row[name] for name in rtx_gate.KEY[2:]) for row in rtx_gate.gate(model, tmp_path, ARCHITECTURES)]
    left = rtx_gate.gate(model, tmp_path, ARCHITECTURES, rows[:-1])
    assert len(rows) == 2 * len(Precision)
    assert [tuple(row[name] for name in rtx_gate.KEY[2:]) for row in left] == rows[-1:]


def test_the_table_has_a_row_per_graph() -> None:
    built = {
        "family": "x",
        "size": "tiny",
        "graph": "llm",
        "profiles": 1,
        "form": "usual",
        "built": True,
        "plan_bytes": 2_000_000,
        "seconds": 1.5,
    }
    failed = {**built, "precision": "fp16", "built": False}
    assert rtx_gate.markdown({"rows": [{**built, "precision": "fp32"}, failed]}, "x", "tiny").splitlines()[2:] == [
        "| `llm` | 1 | 2.0 | 1.5 | FAILED |  | not measured |  |"
    ]


def test_the_readme_shows_the_stored_results() -> None:
    folder = Path(rtx_gate.__file__).parents[1]
    content = json.loads((folder / "results" / "rtx_gate.json").read_text())
    stored = {(row["family"], row["size"]) for row in content["rows"] if row["size"] != "small"}
    assert {family for family, _ in stored} == set(FAMILIES)
    for family, size in stored:
        assert rtx_gate.markdown(content, family, size) in (folder / "README.md").read_text()
    assert all(row["built"] for row in content["rows"])
