"""Every check has a smallest model that trips it alone, and a twin beside it that trips nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from hyperseg_export.onnx.lint import ERRORS, NOTES, check_graph, lint
from hyperseg_export.onnx.writer import OPSET
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION
from hyperseg_kernels.deformable_attention import onnx_op
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.errors import ExportError

CHECKS = {check.__name__: check for check in (*ERRORS, *NOTES)}
DTYPES = {
    onnx.TensorProto.FLOAT: DType.FLOAT32,
    onnx.TensorProto.FLOAT16: DType.FLOAT16,
    onnx.TensorProto.INT64: DType.INT64,
    onnx.TensorProto.BOOL: DType.BOOL,
}
Change = Callable[[onnx.ModelProto], None]


@dataclass(frozen=True)
class Model:
    """A graph in ONNX's text form, and what its spec says besides names, types and axes."""

    text: str
    in_place: Mapping[str, str] = field(default_factory=dict)
    custom_ops: tuple[str, ...] = ()
    change: Change = lambda model: None
    spec: GraphSpec | None = None
    ir_version: int = 10
    opset: int = OPSET

    def parsed(self) -> onnx.ModelProto:
        header = f'<ir_version: {self.ir_version}, opset_import: ["" : {self.opset}, "hyperseg" : 1]>'
        model = onnx.parser.parse_model(f"{header} small {self.text}")
        self.change(model)
        return model

    def write(self, folder: Path) -> tuple[Path, GraphSpec]:
        path = folder / "small.onnx"
        path.write_bytes(self.parsed().SerializeToString())
        return path, self.spec or spec_of(self)


def spec_of(model: Model) -> GraphSpec:
    """The contract that this graph keeps."""

    def tensors(values: list[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name=value.name,
                dtype=DTYPES[value.type.tensor_type.elem_type],
                axes=tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim),
            )
            for value in values
        )

    graph = model.parsed().graph
    inputs, outputs = tensors(list(graph.input)), tensors(list(graph.output))
    names = {axis for tensor in (*inputs, *outputs) for axis in tensor.axes if isinstance(axis, str)}
    return GraphSpec(
        name="small",
        inputs=inputs,
        outputs=outputs,
        axis_ranges={name: AxisRange(minimum=1, typical=1, maximum=9) for name in names},
        reuse=Reuse.IMAGE,
        in_place=model.in_place,
        custom_ops=model.custom_ops,
    )


def one(node: str, x: str = "float[n,4] x", y: str = "float[n,4] y", more: str = "") -> Model:
    """A graph of a node or two; `more` are initializers and types of values between."""
    return Model(f"({x}) => ({y}) {more} {{ {node} }}")


def promised(model: Model) -> Model:
    """The same graph under the contract of `RELU`."""
    return replace(model, spec=spec_of(RELU))


def attention(
    settings: str = "", inputs: str = "q, k, v", outputs: str = "y", more: str = "", kind: str = "float16"
) -> Model:
    heads = f"{kind}[n,2,t,64]"
    x = f"{heads} q, {heads} k, {heads} v{more}"
    return one(f"{outputs} = Attention {settings} ({inputs})", x, f"{heads} y")


def scatter(node: str = "new = TensorScatter (old, x, at)", shape: str = "n,2,8,4", update: str = "n,2,3,4") -> Model:
    model = one(node, f"float[{shape}] old, float[{update}] x, int64[n] at", f"float[{shape}] new")
    return replace(model, in_place={"new": "old"})


def resize(settings: str) -> Model:
    scales = "<float[4] s = {1.0, 1.0, 2.0, 2.0}>"
    return one(f"y = Resize <{settings}> (x, , s)", "float[1,2,4,4] x", "float[1,2,8,8] y", scales)


def top_k(count: int, settings: str = "") -> Model:
    node = f"y, i = TopK {settings} (x, k)"
    return one(node, "float[n,5000] x", f"float[n,{count}] y", f"<int64[1] k = {{{count}}}>")


def cast(kind: str) -> Model:
    number = onnx.TensorProto.DataType.Value(kind.upper())
    return one(f"a = Cast <to = {number}> (x) y = Cast <to = 1> (a)", more=f"<{kind}[n,4] a>")


def stored(length: int) -> Model:
    """Four weights said to take `length` bytes of small.data, which has 16."""

    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "small.data"), ("offset", "0"), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)

    return replace(one("y = Mul (x, w)", more="<float[4] w = {1, 2, 3, 4}>"), change=change)


def with_function(model: Model, name: str) -> Model:
    def change(proto: onnx.ModelProto) -> None:
        text = f'<domain: "hyperseg", opset_import: ["" : {OPSET}]> {name} (a) => (b) {{ b = Abs (a) }}'
        proto.functions.append(onnx.parser.parse_function(text))

    return replace(model, change=change)


def deformable_body(model: onnx.ModelProto) -> None:
    model.functions.append(onnx_op.function_body(1, OPSET))


def unnamed(model: onnx.ModelProto) -> None:
    model.graph.node[0].output[1] = ""


RELU = one("y = Relu (x)")
OURS = replace(
    one(
        f"y = hyperseg.{DEFORMABLE_ATTENTION.name} <level_shapes = [2, 3]> (v, at, w)",
        "float[n,6,2,4] v, float[n,q,2,1,3,2] at, float[n,q,2,1,3] w",
        "float[n,q,8] y",
    ),
    custom_ops=(str(DEFORMABLE_ATTENTION),),
    change=deformable_body,
)
POW = "y = Pow (x, two)"
WHERE = ("y = Where (b, x, z)", "bool[n] b, float[n] x, %s[n] z", "float[n] y")
GRID = one("y = GridSample (x, g)", "float[n,2,4,4] x, float[n,3,3,2] g", "float[n,2,3,3] y")
NORM = "= LayerNormalization (x, s)"
GAIN = "<%s[4] s = {1, 1, 1, 1}>"
RMS = ("y = RMSNormalization (x, s)", "float16[n,4] x", "float16[n,4] y")
PAST = ", float16[n,2,u,64] pk, float16[n,2,u,64] pv"
PACKED = "y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, q, q)"
WIDTH_20 = one("y = Attention (q, q, q)", "float16[n,2,t,20] q", "float16[n,2,t,20] y")
MASKED = attention(inputs="q, k, v, m", more=", bool[t,t] m")
ROTARY = ("y = RotaryEmbedding (x, c, c, p)", "float[n,2,t,4] x, %s[9,2] c, int64[n,t] p", "float[n,2,t,4] y")
K_NODE = "k = Constant <value_ints = [3]> () y, i = TopK (x, k)"
SCATTER_ND = ("y = ScatterND <reduction = %s> (x, i, u)", "float[4,2] x, float[1,2] u", "float[4,2] y")
ROW = "<int64[1,1] i = {2}>"
SPLIT = "y, z = Split <num_outputs = 2, axis = 1> (x)"
JOIN = ("y = Concat <axis = 0> (x, w)", "float[4] x")

CASES: dict[str, dict[str, tuple[Model, Model]]] = {
    "passes_checker": {
        "an input too many": (one("y = Relu (x, x)"), RELU),
        "shapes that contradict": (
            one("y = MatMul (x, x)", "float[2,4] x", "float[2,4] y"),
            one("y = MatMul (x, x)", "float[4,4] x", "float[4,4] y"),
        ),
    },
    "opset_and_ir_version": {
        "an older opset": (replace(RELU, opset=23), RELU),
        "a newer IR": (replace(RELU, ir_version=11), RELU),
    },
    "matches_spec": {
        "an axis became a number": (promised(one("y = Relu (x)", "float[3,4] x", "float[3,4] y")), RELU),
        "another axis": (promised(one("y = Relu (x)", "float[m,4] x", "float[m,4] y")), RELU),
        "another name": (promised(one("z = Relu (x)", y="float[n,4] z")), RELU),
        "another type": (promised(one("y = Relu (x)", "float16[n,4] x", "float16[n,4] y")), RELU),
        "an output more": (promised(one("y = Relu (x) z = Abs (x)", y="float[n,4] y, float[n,4] z")), RELU),
    },
    "importable_operators": {"Hardmax": (one("y = Hardmax (x)"), one("y = Softmax (x)"))},
    "no_data_dependent_shapes": {"NonZero": (one("y = NonZero (x)", y="int64[2,n] y"), RELU)},
    "own_operators_have_bodies": {
        "no body": (replace(OURS, change=lambda model: None), OURS),
        "not declared": (replace(OURS, custom_ops=()), OURS),
        "declared, not used": (replace(RELU, custom_ops=("hyperseg::Other",)), RELU),
        "not in the catalogue": (
            with_function(replace(one("y = hyperseg.Other (x)"), custom_ops=("hyperseg::Other",)), "Other"),
            OURS,
        ),
    },
    "function_names_are_new": {"Relu": (with_function(RELU, "Relu"), with_function(RELU, "Ours"))},
    "no_grid_sample": {"GridSample": (GRID, RELU)},
    "operands_agree": {
        "Pow": (one(POW, more="<int64[1] two = {2}>"), one(POW, more="<float[1] two = {2}>")),
        "Where": (
            one(*(part.replace("%s", "float16") for part in WHERE)),
            one(*(p.replace("%s", "float") for p in WHERE)),
        ),
    },
    "norms_have_one_type": {
        "two outputs": (one(f"y, mean {NORM}", more=GAIN % "float"), one(f"y {NORM}", more=GAIN % "float")),
        "another type of the scale": (one(*RMS, GAIN % "float"), one(*RMS, GAIN % "float16")),
    },
    "attention_form": {
        "softcap": (attention("<softcap = 2.0>"), attention()),
        "is_causal": (attention("<is_causal = 1>"), attention("<is_causal = 0>")),
        "past inputs": (attention(inputs="q, k, v, , pk, pv", outputs="y, a, b", more=PAST), attention()),
        "lengths": (attention(inputs="q, k, v, , , , len", more=", int64[n] len"), attention()),
        "a second output": (attention(outputs="y, key"), attention()),
        "a mask of another type": (attention(inputs="q, k, v, m", more=", float[t,t] m"), MASKED),
        "packed heads": (one(PACKED, "float16[n,t,128] q", "float16[n,t,128] y"), attention()),
    },
    "cache_form": {
        "another axis": (
            scatter("new = TensorScatter <axis = 1> (old, x, at)", "n,8,2,4", "n,3,2,4"),
            scatter("new = TensorScatter <axis = -2> (old, x, at)"),
        ),
        "circular": (scatter('new = TensorScatter <mode = "circular"> (old, x, at)'), scatter()),
        "no fixed capacity": (scatter(shape="n,2,s,4"), scatter()),
        "not from an input": (scatter("a = Abs (old) new = TensorScatter (a, x, at)"), scatter()),
        "not to an output": (scatter("a = TensorScatter (old, x, at) new = Abs (a)"), scatter()),
        "not in the spec": (replace(scatter(), in_place={}), scatter()),
    },
    "rotary_form": {
        "tables of another type": (
            one(*(part.replace("%s", "float16") for part in ROTARY)),
            one(*(part.replace("%s", "float") for part in ROTARY)),
        )
    },
    "resize_form": {
        "antialias": (resize('antialias = 1, mode = "linear"'), resize('antialias = 0, mode = "linear"')),
        "cubic": (resize('mode = "cubic"'), resize('mode = "nearest"')),
    },
    "top_k_form": {
        "too many": (top_k(4000), top_k(3840)),
        "unsorted": (top_k(3, "<sorted = 0>"), top_k(3, "<sorted = 1>")),
        "computed": (
            one("y, i = TopK (x, k)", "float[n,9] x, int64[1] k", "float[n,n] y"),
            one(K_NODE, "float[n,9] x", "float[n,3] y"),
        ),
    },
    "scatter_and_scan_form": {
        "adding": (
            one(SCATTER_ND[0] % '"add"', *SCATTER_ND[1:], ROW),
            one(SCATTER_ND[0] % '"none"', *SCATTER_ND[1:], ROW),
        ),
        "a computed axis": (
            one("y = CumSum (x, a)", "float[n,4] x, int64 a"),
            one("y = CumSum (x, a)", more="<int64 a = {1}>"),
        ),
    },
    "outputs_are_named": {
        "an output without a name": (
            replace(one(SPLIT, y="float[n,2] y"), change=unnamed),
            one(SPLIT, y="float[n,2] y, float[n,2] z"),
        )
    },
    "no_wide_or_byte_types": {
        "double": (cast("double"), cast("float16")),
        "bytes": (cast("uint8"), one("y = Cast <to = 2> (x)", y="uint8[n,4] y")),
    },
    "no_empty_weights": {
        "no elements": (
            one(*JOIN, "float[4] y", "<float[0] w = {}>"),
            one(*JOIN, "float[5] y", "<float[1] w = {1}>"),
        )
    },
    "weights_stay_inside": {"beyond the end of the file": (stored(32), stored(16))},
    "attention_needs_decomposition": {
        "float32": (attention(kind="float"), attention()),
        "head width 20": (WIDTH_20, attention()),
    },
}
BROKEN_IN_ANY_CASE = {
    ("operands_agree", "Where"),
    ("norms_have_one_type", "another type of the scale"),
    ("rotary_form", "tables of another type"),
}
"""Defects that ONNX's own checker refuses too."""
NAMES = [(check, name) for check, cases in CASES.items() for name in cases]


@pytest.mark.parametrize(("check", "name"), NAMES)
def test_the_check_finds_its_defect_and_no_other_does(tmp_path: Path, check: str, name: str) -> None:
    bad, _ = CASES[check][name]
    also = {"passes_checker"} if (check, name) in BROKEN_IN_ANY_CASE else set()
    assert checks_tripped(bad, tmp_path) == {check} | also


@pytest.mark.parametrize(("check", "name"), NAMES)
def test_the_twin_is_clean(tmp_path: Path, check: str, name: str) -> None:
    _, good = CASES[check][name]
    assert not checks_tripped(good, tmp_path)


def test_every_check_has_a_case() -> None:
    assert CASES.keys() == CHECKS.keys()
    assert all(CASES.values())
    assert len(CHECKS) == len(ERRORS) + len(NOTES)


@pytest.mark.parametrize("check", ["operands_agree", "no_wide_or_byte_types"])
def test_types_between_the_nodes_need_not_be_written_down(tmp_path: Path, check: str) -> None:
    """A pass or another exporter may leave value_info out: then the types follow from the operators."""
    half = "h = Cast <to = 10> (x)"
    nodes = {
        "operands_agree": f"{half} a = Cast <to = 7> (x) y = Pow (h, a)",
        "no_wide_or_byte_types": "a = Cast <to = 11> (x) b = Abs (a) y = Cast <to = 10> (b)",
    }
    model = one(nodes[check], y="float16[n,4] y", more=GAIN % "float")
    assert check in checks_tripped(model, tmp_path)


def test_every_check_says_what_it_prevents() -> None:
    assert all(check.__doc__ and len(check.__doc__.split()) > 4 for check in CHECKS.values())


def test_graphs_of_a_bundle_have_no_errors(tiny_bundle: Path) -> None:
    for entry in Bundle.open(tiny_bundle).manifest.graphs:
        assert lint(tiny_bundle / entry.file, entry.spec, ERRORS) == []
        check_graph(tiny_bundle / entry.file, entry.spec)


def test_float32_attention_is_a_note_for_the_builder(tiny_bundle: Path) -> None:
    entry = Bundle.open(tiny_bundle).manifest.graph("llm")
    (finding,) = lint(tiny_bundle / entry.file, entry.spec, NOTES)
    assert finding.check == "attention_needs_decomposition"
    assert "2 Attention nodes (FLOAT, head width 20)" in finding.message


def test_findings_become_one_error_that_names_graph_and_checks(tmp_path: Path) -> None:
    path, spec = one(" ".join(f"y{i} = Hardmax (x)" for i in range(12)) + " y = Abs (y0)").write(tmp_path)
    with pytest.raises(ExportError, match=r"graph small: 12 lint finding\(s\)") as error:
        check_graph(path, spec)
    assert str(error.value).count("importable_operators: Hardmax") == 10


def test_a_graph_without_findings_raises_nothing(tmp_path: Path) -> None:
    check_graph(*RELU.write(tmp_path))


def checks_tripped(model: Model, folder: Path) -> set[str]:
    (folder / "small.data").write_bytes(np.ones(4, np.float32).tobytes())
    path, spec = model.write(folder)
    return {finding.check for finding in lint(path, spec, (*ERRORS, *NOTES))}
