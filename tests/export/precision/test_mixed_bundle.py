"""A bundle in the preset "mixed": what it holds, what of it was measured, who can run it."""

from pathlib import Path

import pytest

from hyperseg_export.parity.tolerances import COSINE, MASK_IOU
from hyperseg_runtime.bundle.opening import Bundle, read_manifest
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import BundleError
from hyperseg_runtime.session.pipeline import Pipeline, family_of
from support import RunCli

LANGUAGE = {"llm", "lm_head"}


def planned(spec: GraphSpec) -> Precision:
    if spec.exact:
        return Precision.FP32
    return Precision.BF16 if spec.name in LANGUAGE else Precision.FP16


def test_every_graph_has_the_precision_of_the_plan(mixed_bundle: Path) -> None:
    for entry in read_manifest(mixed_bundle).graphs:
        assert entry.precision is planned(entry.spec)
    assert family_of(Bundle.open(mixed_bundle)).name == "hyperseg"


def test_parity_was_measured_for_every_output(mixed_bundle: Path) -> None:
    """fp16 graphs in ONNX Runtime, bf16 as torch modules in the same types, both against float32 modules."""
    manifest = read_manifest(mixed_bundle)
    assert manifest.parity is not None
    for graph in manifest.graphs:
        rows = [entry for entry in manifest.parity if entry.graph == graph.spec.name]
        assert {r.engine for r in rows} == {"torch" if graph.spec.name in LANGUAGE else "onnxruntime"}
        if graph.spec.exact:
            assert [r.output for r in rows if r.measure == "error / range"] == graph.spec.output_names()
            continue
        assert [r.output for r in rows if r.measure == "cosine distance"] == graph.spec.output_names()
        assert all(r.tolerance in (COSINE[graph.precision], MASK_IOU[graph.precision]) for r in rows)
        assert any(r.worst_error > 0 for r in rows)
    (masks,) = (entry for entry in manifest.parity if entry.measure == "1 - mask IoU")
    assert (masks.graph, masks.output, masks.passed) == ("mask_decoder", "mask_logits", True)


def test_onnx_runtime_says_that_it_cannot_run_bf16(mixed_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"llm, lm_head: the bundle has bf16 graphs, .* --backend tensorrt"):
        Pipeline.load(mixed_bundle)


def test_a_changed_precision_in_the_manifest_is_found(mixed_bundle: Path) -> None:
    """The contract of the caches follows from it."""
    bundle = Bundle(mixed_bundle, read_manifest(mixed_bundle))
    graphs = [
        entry.model_copy(update={"precision": Precision.FP16}) if entry.spec.name == "llm" else entry
        for entry in bundle.manifest.graphs
    ]
    changed = Bundle(mixed_bundle, bundle.manifest.model_copy(update={"graphs": tuple(graphs)}))
    with pytest.raises(BundleError, match="graph llm of the bundle has another contract"):
        family_of(changed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int8"], "choose fp32, fp16, bf16, mixed"),
        (["--precision-of", "llm"], "expected NAME=VALUE, got 'llm'"),
        (["--precision-of", "llm=fp4"], "graph llm: unknown precision 'fp4'"),
    ],
)
def test_a_wrong_precision_is_unusable_input(
    run_cli: RunCli, tiny_checkpoint: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run_cli("export", tiny_checkpoint, tmp_path / "bundle", *arguments)
    assert result.code == 2 and message in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_typed_graph_takes_half_the_room(mixed_bundle: Path) -> None:
    manifest = read_manifest(mixed_bundle)
    assert manifest.files["graphs/lm_head.data"].size_bytes == 2 * manifest.graph("lm_head").parameters
