"""Small graphs through the gate, every graph in every precision; the script itself also takes the published widths."""

import json
import shutil
from pathlib import Path

import onnx
import pytest

import rtx_gate
from hyperseg_export.families.hyperseg.graphs import GRAPH_MODULES
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.contracts.precision import Precision


def build(bundle: Path, graph: str, scratch: Path, profiles: int = 1) -> dict[str, object]:
    entry = read_manifest(bundle).graph(graph)
    spec = scratch / "spec.json"
    spec.write_text(entry.spec.model_dump_json())
    return rtx_gate.run_child(bundle / entry.file, spec, profiles, list(rtx_gate.ARCHITECTURES))


@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_every_graph_builds_in_fp32(tiny_bundle: Path, tmp_path: Path, graph: str) -> None:
    row = build(tiny_bundle, graph, tmp_path)
    assert row["built"], row["error"]
    assert row["plan_bytes"] > 0


@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_every_graph_builds_in_mixed_precision(mixed_bundle: Path, tmp_path: Path, graph: str) -> None:
    """Attention of both transformers has a fused kernel."""
    row = build(mixed_bundle, graph, tmp_path)
    assert row["built"], row["error"]
    assert row["decomposed_attention"] == 0 or graph not in ("clip_encoder", "llm")


def test_the_language_model_builds_with_all_its_profiles(mixed_bundle: Path, tmp_path: Path) -> None:
    row = build(mixed_bundle, "llm", tmp_path, profiles=3)
    assert row["built"], row["error"]


@pytest.mark.parametrize(
    ("precision", "graphs"),
    [
        # In fp16 with its attention written out in float32: the fused node crashed TensorRT-RTX 1.7.1.
        (Precision.FP16, ("llm", "lm_head")),
        (Precision.BF16, ("image_encoder", "clip_encoder", "fvp", "pixel_decoder", "mask_decoder")),
    ],
)
def test_what_mixed_leaves_out_builds_too(tmp_path: Path, precision: Precision, graphs: tuple[str, ...]) -> None:
    """With the tests above, every graph in every precision."""
    exported = rtx_gate.export_typed(rtx_gate.planned("small"), precision, tmp_path, graphs)
    rows = [
        rtx_gate.run_child(path, path.with_suffix(".json"), 1, list(rtx_gate.ARCHITECTURES)) for path, _ in exported
    ]
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
    row = rtx_gate.run_child(broken, broken.with_suffix(".json"), 1, ["SM89"])
    assert not row["built"]
    assert "lm_head" in row["error"] and "MatMul" in row["error"]


def test_a_crash_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "gone.json").write_text("{}")
    row = rtx_gate.run_child(tmp_path / "gone.onnx", tmp_path / "gone.json", 1, ["SM89"])
    assert not row["built"] and "ended with 1" in row["error"]


def test_the_table_has_a_row_per_graph() -> None:
    built = {"size": "tiny", "graph": "llm", "profiles": 1, "built": True, "plan_bytes": 2_000_000, "seconds": 1.5}
    failed = {"size": "tiny", "graph": "llm", "profiles": 1, "precision": "fp16", "built": False}
    assert rtx_gate.markdown({"rows": [{**built, "precision": "fp32"}, failed]}, "tiny").splitlines()[2:] == [
        "| `llm` | 1 | 2.0 | 1.5 | FAILED |  | not measured |  |"
    ]


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_the_readme_shows_the_stored_results(size: str) -> None:
    folder = Path(rtx_gate.__file__).parent
    content = json.loads((folder / "results" / "rtx_gate.json").read_text())
    assert rtx_gate.markdown(content, size) in (folder / "README.md").read_text()
    assert all(row["built"] for row in content["rows"])
