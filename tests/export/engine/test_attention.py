"""Attention written out computes the same; which form is built, what is said of it, and what to try next."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_graphs import attending, attention, convolution
from hyperseg_export.engine.attention import (
    AttentionForm,
    advice,
    attention_nodes,
    default_form,
    fused_layers,
    write_out,
)
from hyperseg_export.engine.build import build_engines
from hyperseg_export.engine.inspector import Layer
from hyperseg_export.engine.options import BuildOptions, plan_engines
from hyperseg_export.engine.verb import attention_forms
from hyperseg_export.engine.worker import Built, Job, build
from hyperseg_export.jobs.progress import Silent
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import EngineError, InputError, ParityError
from support import forget_doubles

TOLERANCE = {DType.FLOAT32: 1e-6, DType.FLOAT16: 2e-3}
"""Of values around one: float32 rounds 1e-7 an addition, float16 5e-4 a score and a result."""


def run(model: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, arrays)[0])


def inputs_of(spec: GraphSpec, count: int, seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    arrays = {
        tensor.name: draw.standard_normal(tensor.shape({"batch": 2})).astype(str(tensor.dtype))
        for tensor in spec.inputs[:count]
        if tensor.dtype is not DType.BOOL
    }
    if count > 3:
        mask = draw.random((2, 1, 5, 12)) < 0.5
        mask[..., 0] = True  # every row may attend to something
        arrays["mask"] = mask
    return arrays


@settings(max_examples=15, deadline=None)
@given(
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (6, 1)]),
    width=st.sampled_from([8, 16, 80]),
    dtype=st.sampled_from([DType.FLOAT32, DType.FLOAT16]),
    masked=st.booleans(),
    scale=st.none() | st.floats(0.5, 1.5),
    seed=st.integers(0, 99),
)
def test_written_out_attention_computes_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    heads: tuple[int, int],
    width: int,
    dtype: DType,
    masked: bool,
    scale: float | None,
    seed: int,
) -> None:
    spec, count = attending(*heads, width, dtype), 4 if masked else 3
    path = tmp_path_factory.mktemp("attention") / "node.onnx"
    attributes = {} if scale is None else {"scale": scale * width**-0.5}
    model = onnx.load(attention(path, spec, count, **attributes))
    arrays = inputs_of(spec, count, seed)
    if not masked:
        del model.graph.input[3]
    expected = run(model, arrays).astype(np.float32)
    assert write_out(model) == 1 and not list(attention_nodes(model))
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model, arrays).astype(np.float32), expected, rtol=0, atol=TOLERANCE[dtype])


def test_a_graph_without_attention_stays_as_it_is(tmp_path: Path) -> None:
    model = onnx.load(convolution(tmp_path / "small.onnx"))
    before = model.SerializeToString(deterministic=True)
    assert write_out(model) == 0 and model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("release", "types", "widths", "form"),
    [
        ((10, 15), ["bfloat16"], [80], AttentionForm.DECOMPOSED),
        ((10, 16), ["bfloat16"], [80], AttentionForm.WRITTEN_OUT),
        ((10, 16), ["float32"], [80], AttentionForm.DECOMPOSED),
        ((11, 1), ["float16"], [80], AttentionForm.DECOMPOSED),
        ((11, 2), ["float32", "float16"], [72, 32], AttentionForm.WRITTEN_OUT),
        ((11, 4), ["float16"], [80], AttentionForm.DECOMPOSED),
    ],
)
def test_the_default_avoids_what_is_known_to_be_wrong(
    release: tuple[int, int], types: list[str], widths: list[int], form: AttentionForm
) -> None:
    assert default_form(release, types, widths) is form


def test_fused_kernels_are_known_by_name() -> None:
    names = ["_gemm_mha_v2_myl3_6", "__mye8037_gemm_mha_v2", "_gemv_mha_v1", "__myl_MoveReshTran_myl3_7", "alphamhax"]
    assert fused_layers([Layer(name, "kgen", "", (), ()) for name in names]) == 3


@pytest.mark.parametrize(
    ("texts", "forms"),
    [
        (None, {}),
        (["fused"], {"*": "fused"}),
        (["decomposed", "llm=written-out"], {"*": "decomposed", "llm": "written-out"}),
    ],
)
def test_forms_are_asked_for_by_graph(texts: list[str] | None, forms: dict[str, str]) -> None:
    assert attention_forms(texts) == forms
    options = BuildOptions(attention=attention_forms(texts))
    assert options.attention_of("llm") == forms.get("llm", forms.get("*"))


@pytest.mark.parametrize("text", ["", "fast", "llm=", "llm=fast", "fused=llm"])
def test_an_unknown_form_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a form is fused, decomposed, written-out"):
        attention_forms([text])


def job(folder: Path, form: str | None, width: int = 16, dtype: DType = DType.FLOAT16) -> Job:
    spec = attending(4, 2, width, dtype)
    return Job(
        family="unilseg",
        onnx=attention(folder / "attending.onnx", spec),
        spec=spec,
        precision=Precision.FP16 if dtype is DType.FLOAT16 else Precision.FP32,
        options=BuildOptions(attention={"attending": AttentionForm(form)} if form else {}),
        timing_cache=folder / "timing.cache",
        plan=folder / "attending.plan",
        plugins=(),
        architecture="sm_90",
    )


def form_of(built: Built) -> tuple[str | None, int, dict[str, int]]:
    return built.attention, built.attention_layers, built.fused_attention


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize(
    ("form", "width", "kind", "fault", "held"),
    [
        ("fused", 16, DType.FLOAT16, "", ("fused", 1, {"latency": 1})),
        ("decomposed", 16, DType.FLOAT16, "", ("decomposed", 1, {"latency": 1})),
        ("decomposed", 16, DType.FLOAT16, "no fused kernel", ("decomposed", 1, {"latency": 0})),
        ("decomposed", 12, DType.FLOAT16, "", ("decomposed", 1, {"latency": 0})),
        ("written-out", 16, DType.FLOAT16, "", ("written-out", 1, {"latency": 0})),
        (None, 16, DType.FLOAT16, "", ("decomposed", 1, {"latency": 1})),
        (None, 16, DType.FLOAT32, "", ("decomposed", 1, {"latency": 0})),
    ],
)
def test_the_build_tells_what_the_engine_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str | None, width: int, kind: DType, fault: str, held: object
) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", fault)
    assert form_of(build(job(tmp_path, form, width, kind))) == held


@pytest.mark.usefixtures("tensorrt_double")
def test_a_release_with_a_broken_layer_gets_it_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_VERSION", "11.2.1.2")
    forget_doubles()
    assert build(job(tmp_path, None)).attention is AttentionForm.WRITTEN_OUT


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize(("width", "fault"), [(16, "no fused kernel"), (12, "")])
def test_fused_without_a_kernel_is_an_error_that_names_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, fault: str
) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", fault)
    with pytest.raises(EngineError, match=r"(?s)not supported by a dedicated kernel.*--attention attending=decomposed"):
        build(job(tmp_path, "fused", width))


def test_what_to_try_next_depends_on_what_was_built() -> None:
    assert "--attention llm=written-out" in advice("llm", AttentionForm.DECOMPOSED)
    assert "--attention llm=written-out" in advice("llm", AttentionForm.FUSED)
    assert "--precision-of llm=fp32" in advice("llm", AttentionForm.WRITTEN_OUT)
    assert advice("fvp", None) == ""


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.usefixtures("tensorrt_double")
def test_wrong_attention_is_found_and_the_way_on_works(
    mixed_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release whose Attention layer gives wrong results: parity fails, its message is followed, parity passes."""
    bundle = Path(shutil.copytree(mixed_bundle, tmp_path / "bundle"))
    monkeypatch.setenv("DOUBLE_FAULT", "wrong attention")
    with pytest.raises(
        ParityError, match=r"thrown away; attention was decomposed: .* build --attention llm=written-out"
    ):
        build_engines(bundle, BuildOptions(), ["llm"])
    notes = Notes()
    options = BuildOptions(attention=attention_forms(["llm=written-out"]))
    (engine,) = build_engines(bundle, options, ["llm"], notes).engines
    assert engine.parity and all(row.passed for row in engine.parity)
    assert (engine.attention, engine.attention_layers) == ("written-out", 1)
    assert engine.fused_attention == {"prefill": 0, "suffix": 0, "decode": 0}
    assert any("attention written-out in 1 layers; fused kernels in the engine: prefill 0" in n for n in notes.texts)


def test_a_form_for_a_graph_that_is_not_there_is_refused(mixed_bundle: Path) -> None:
    options = BuildOptions(attention={"lm": AttentionForm.FUSED})
    with pytest.raises(InputError, match="the bundle has no graph lm; it has"):
        plan_engines(read_manifest(mixed_bundle), None, options)
