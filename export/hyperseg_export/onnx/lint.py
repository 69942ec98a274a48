"""Checks on a written ONNX file: that it is what its GraphSpec says, and free of known TensorRT traps.

Each check is one function and names its trap in the docstring. Findings of `ERRORS` stop an export;
findings of `NOTES` are what an engine builder has to take care of.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from hyperseg_export.onnx.writer import IR_VERSION, OPSET
from hyperseg_kernels.catalog import OPERATORS
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, TensorSpec
from hyperseg_runtime.errors import ExportError

MAX_TOPK = 3840
FUSED_HEAD_WIDTHS = range(16, 257, 8)
IR_DTYPES = {
    DType.FLOAT32: ir.DataType.FLOAT,
    DType.FLOAT16: ir.DataType.FLOAT16,
    DType.BFLOAT16: ir.DataType.BFLOAT16,
    DType.FLOAT8: ir.DataType.FLOAT8E4M3FN,
    DType.INT64: ir.DataType.INT64,
    DType.INT8: ir.DataType.INT8,
    DType.UINT8: ir.DataType.UINT8,
    DType.INT4: ir.DataType.INT4,
    DType.BOOL: ir.DataType.BOOL,
}
IMPORTABLE = frozenset(
    """
    Abs Add And Attention BatchNormalization Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos CumSum DequantizeLinear Div Einsum Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Gelu Gemm Greater GreaterOrEqual GridSample GroupNormalization Identity
    InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log MatMul Max MaxPool Min Mod Mul Neg Not Or
    Pad Pow QuantizeLinear RMSNormalization Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum Relu Reshape Resize RotaryEmbedding Round ScatterElements ScatterND Shape Sigmoid Sign Sin Size Slice
    Softmax Split Sqrt Squeeze Sub Sum Swish Tanh TensorScatter Tile TopK Transpose Trilu Unsqueeze Where Xor
    """.split()
)
"""Standard operators that TensorRT 10.15 and later import and that our modules may need."""
DATA_DEPENDENT = frozenset("NonZero Unique Compress NonMaxSuppression Loop Scan If SequenceAt".split())
SAME_TYPE = frozenset("Add Sub Mul Div Pow MatMul Gemm Concat Max Min Equal Less Greater And Or".split())


@dataclass(frozen=True)
class Finding:
    check: str
    message: str


@dataclass(frozen=True)
class Subject:
    """The file under test; weights stay on disk."""

    path: Path
    model: ir.Model
    typed: ir.Model  # the same with inferred types between the nodes, which a file need not hold
    spec: GraphSpec

    def nodes(self, *op_types: str) -> Iterator[ir.Node]:
        """Nodes of the main graph, of the given types if any; values carry their types."""
        return (node for node in self.typed.graph if not op_types or node.op_type in op_types)

    def all_nodes(self) -> Iterator[ir.Node]:
        """Nodes of the main graph and of every function body."""
        yield from self.model.graph
        for function in self.model.functions.values():
            yield from function


Check = Callable[[Subject], Iterator[str]]


def lint(path: Path, spec: GraphSpec, checks: tuple[Check, ...]) -> list[Finding]:
    """Findings of `checks` on one ONNX file."""
    subject = Subject(path, ir.load(path), ShapeInferencePass()(ir.load(path)).model, spec)
    return [Finding(check.__name__, message) for check in checks for message in check(subject)]


def check_graph(path: Path, spec: GraphSpec, for_tensorrt: bool = True) -> None:
    """Raise ExportError with every finding of `ERRORS`, or of those that are not about what TensorRT takes."""
    findings = lint(path, spec, tuple(check for check in ERRORS if for_tensorrt or check not in OF_TENSORRT))
    if findings:
        lines = "\n  ".join(f"{finding.check}: {finding.message}" for finding in findings[:10])
        raise ExportError(f"graph {spec.name}: {len(findings)} lint finding(s):\n  {lines}")


def passes_checker(subject: Subject) -> Iterator[str]:
    """The file is not valid ONNX."""
    try:
        onnx.checker.check_model(subject.path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        yield str(error).splitlines()[0]


def opset_and_ir_version(subject: Subject) -> Iterator[str]:
    """Above opset 25, torch 2.13 writes "opset 18" over newer operators; ONNX Runtime 1.31 refuses IR 14."""
    opset = subject.model.opset_imports.get("")
    if (opset, subject.model.ir_version) != (OPSET, IR_VERSION):
        yield f"expected opset {OPSET}, IR {IR_VERSION}; got opset {opset}, IR {subject.model.ir_version}"


def matches_spec(subject: Subject) -> Iterator[str]:
    """Names, types and axes differ from the contract; an exporter may silently fix a symbolic axis."""
    graph, spec = subject.model.graph, subject.spec
    for kind, values, tensors in (
        ("input", graph.inputs, spec.inputs),
        ("output", graph.outputs, spec.outputs),
    ):
        if len(values) != len(tensors):
            yield f"expected {len(tensors)} {kind}s, got {[value.name for value in values]}"
        for value, tensor in zip(values, tensors, strict=False):
            if not _is_tensor(value, tensor):
                yield f"expected {kind} {tensor}, got {value.name} {value.dtype} {value.shape}"


def _is_tensor(value: ir.Value, tensor: TensorSpec) -> bool:
    if value.shape is None:
        return False
    axes = tuple(dim.value if isinstance(dim, ir.SymbolicDim) else dim for dim in value.shape)
    return (value.name, value.dtype, axes) == (tensor.name, IR_DTYPES[tensor.dtype], tensor.axes)


def importable_operators(subject: Subject) -> Iterator[str]:
    """TensorRT has no importer for the operator."""
    for node in subject.all_nodes():
        if node.domain == "" and node.op_type not in IMPORTABLE | DATA_DEPENDENT:
            yield f"{node.op_type} ({node.name})"


def no_data_dependent_shapes(subject: Subject) -> Iterator[str]:
    """A size that depends on values, or control flow, breaks static planning and CUDA graphs."""
    for node in subject.all_nodes():
        if node.domain == "" and node.op_type in DATA_DEPENDENT:
            yield f"{node.op_type} ({node.name})"


def own_operators_have_bodies(subject: Subject) -> Iterator[str]:
    """A custom node without a function body runs only where its plugin is installed."""
    known = {(operator.domain, operator.name) for operator in OPERATORS}
    bodies = {(function.domain, function.name) for function in subject.model.functions.values()}
    for node in subject.all_nodes():
        if node.domain and (node.domain, node.op_type) not in known & bodies:
            yield f"{node.domain}::{node.op_type} ({node.name})"
    declared = set(subject.spec.custom_ops)
    used = {f"{node.domain}::{node.op_type}" for node in subject.nodes() if node.domain}
    if declared != used:
        yield f"the spec declares {sorted(declared)}, the graph uses {sorted(used)}"


def function_names_are_new(subject: Subject) -> Iterator[str]:
    """TensorRT's parser looks at the operator type alone: a function named like a built-in is ignored."""
    for function in subject.model.functions.values():
        if onnx.defs.has(function.name):
            yield f"{function.domain}::{function.name}"


def no_grid_sample(subject: Subject) -> Iterator[str]:
    """TensorRT 10.14-11.1 computes deformable attention on GridSample silently wrong (NVIDIA/TensorRT#4813)."""
    for node in subject.all_nodes():
        if node.op_type == "GridSample":
            yield f"{node.name}: sample by gather"


def operands_agree(subject: Subject) -> Iterator[str]:
    """Strongly typed networks (TensorRT 11) convert nothing: both operands need one type."""
    for node in subject.nodes(*SAME_TYPE, "Where"):
        operands = node.inputs[1:] if node.op_type == "Where" else node.inputs
        types = {value.dtype for value in operands if value is not None and value.dtype is not None}
        if len(types) > 1:
            yield f"{node.op_type} ({node.name}) mixes {sorted(str(kind) for kind in types)}"


def norms_have_one_type(subject: Subject) -> Iterator[str]:
    """TensorRT wants scale and bias of a normalisation in the type of the input, and one output."""
    for node in subject.nodes("LayerNormalization", "GroupNormalization", "RMSNormalization"):
        types = {value.dtype for value in node.inputs if value is not None and value.dtype is not None}
        if len(types) > 1 or len(node.outputs) != 1:
            yield f"{node.op_type} ({node.name})"


def attention_form(subject: Subject) -> Iterator[str]:
    """TensorRT ignores nonpad_kv_seqlen silently and supports neither past inputs, softcap, a second output,
    nor a mask together with is_causal; its causal flag aligns upper-left, wrong for a decode step."""
    for node in subject.nodes("Attention"):
        inputs = [value is not None for value in node.inputs]
        if len(node.outputs) != 1 or any(inputs[4:]):
            yield f"{node.name} has past inputs, lengths or a second output"
        if node.attributes.get_float("softcap", 0.0) or node.attributes.get_int("is_causal", 0):
            yield f"{node.name} uses softcap or is_causal"
        query = node.inputs[0]
        if query is None or query.shape is None or len(query.shape) != 4:
            yield f"{node.name} is not in the four-dimensional form"
        mask = node.inputs[3] if len(inputs) > 3 else None
        if mask is not None and query is not None and mask.dtype not in (ir.DataType.BOOL, query.dtype):
            yield f"{node.name} has a mask of type {mask.dtype} for queries of type {query.dtype}"


def cache_form(subject: Subject) -> Iterator[str]:
    """TensorRT updates a cache in place only straight from a graph input to a graph output, on axis -2 of a
    4-d tensor of fixed capacity, linear mode."""
    inputs = {value.name for value in subject.model.graph.inputs}
    outputs = {value.name for value in subject.model.graph.outputs}
    pairs = {}
    for node in subject.nodes("TensorScatter"):
        cache, updated = node.inputs[0], node.outputs[0]
        axis, mode = node.attributes.get_int("axis", -2), node.attributes.get_string("mode", "linear")
        if axis != -2 or mode != "linear":
            yield f"{node.name} has axis {axis}, mode {mode}"
        if cache is None or cache.name not in inputs or updated.name not in outputs:
            yield f"{node.name} does not lead from a graph input to a graph output"
        elif cache.shape is None or len(cache.shape) != 4 or not isinstance(cache.shape[2], int):
            yield f"{cache.name} has no fixed capacity: {cache.shape}"
        else:
            pairs[updated.name] = cache.name
    if pairs != dict(subject.spec.in_place):
        yield f"the spec lists {len(subject.spec.in_place)} in-place pairs, the graph has {len(pairs)}"


def rotary_form(subject: Subject) -> Iterator[str]:
    """TensorRT wants tables of a rotary embedding in the type of its input, and 64-bit positions."""
    for node in subject.nodes("RotaryEmbedding"):
        x, cos, sin, *positions = (value.dtype if value is not None else None for value in node.inputs)
        if {x, cos, sin} != {x} or (positions and positions[0] != ir.DataType.INT64):
            yield f"{node.name}: {x}, {cos}, {sin}, {positions}"


def resize_form(subject: Subject) -> Iterator[str]:
    """TensorRT's Resize has no antialiasing, no aspect-ratio policy and no cubic mode."""
    for node in subject.all_nodes():
        if node.op_type == "Resize":
            policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
            mode = node.attributes.get_string("mode", "nearest")
            if node.attributes.get_int("antialias", 0) or policy != "stretch" or mode == "cubic":
                yield f"{node.name}: antialias, policy {policy}, mode {mode}"


def top_k_form(subject: Subject) -> Iterator[str]:
    """TensorRT's TopK takes at most 3840 values, sorted."""
    for node in subject.nodes("TopK"):
        count = ir.convenience.get_const_tensor(node.inputs[1]) if node.inputs[1] is not None else None
        if count is None or int(count.numpy().item()) > MAX_TOPK or not node.attributes.get_int("sorted", 1):
            yield f"{node.name}: K must be constant, at most {MAX_TOPK}, and sorted"


def scatter_and_scan_form(subject: Subject) -> Iterator[str]:
    """TensorRT supports no reduction in ScatterND and wants CumSum's axis constant."""
    for node in subject.nodes("ScatterND", "ScatterElements", "CumSum"):
        if node.attributes.get_string("reduction", "none") != "none":
            yield f"{node.name} reduces"
        axis = node.inputs[1] if node.op_type == "CumSum" else None
        if axis is not None and ir.convenience.get_const_tensor(axis) is None:
            yield f"{node.name} has a computed axis"


def outputs_are_named(subject: Subject) -> Iterator[str]:
    """TensorRT's parser counts outputs and trips over empty ones."""
    for node in subject.all_nodes():
        if any(not output.name for output in node.outputs):
            yield f"{node.op_type} ({node.name})"


def no_wide_or_byte_types(subject: Subject) -> Iterator[str]:
    """TensorRT has no float64, and bytes at inputs and outputs only."""
    for node in subject.nodes():
        for output in node.outputs:
            inside = not output.is_graph_output()
            if output.dtype is ir.DataType.DOUBLE or (output.dtype is ir.DataType.UINT8 and inside):
                yield f"{output.name} is {output.dtype}"


def no_empty_weights(subject: Subject) -> Iterator[str]:
    """TensorRT refuses weights without elements."""
    for name, value in subject.model.graph.initializers.items():
        if value.shape is not None and 0 in value.shape.numpy():
            yield name


def weights_stay_inside(subject: Subject) -> Iterator[str]:
    """External data must lie in the graph's own folder and inside its file."""
    for name, value in subject.model.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            file = subject.path.parent / tensor.location
            if file.parent != subject.path.parent or not file.is_file():
                yield f"{name} points to {tensor.location}"
            elif (tensor.offset or 0) + (tensor.length or 0) > file.stat().st_size:
                yield f"{name} ends after the end of {tensor.location}"


def attention_needs_decomposition(subject: Subject) -> Iterator[str]:
    """TensorRT has no fused float32 attention, and none for some head widths: mark it decomposable."""
    counts: dict[str, int] = {}
    for node in subject.nodes("Attention"):
        query = node.inputs[0]
        if query is None or query.shape is None:
            continue
        width = query.shape[-1]
        if query.dtype == ir.DataType.FLOAT or width not in FUSED_HEAD_WIDTHS:
            form = f"{query.dtype}, head width {width}"
            counts[form] = counts.get(form, 0) + 1
    for form, count in counts.items():
        yield f"{count} Attention nodes ({form}) have no fused kernel"


ERRORS: tuple[Check, ...] = (
    passes_checker,
    opset_and_ir_version,
    matches_spec,
    importable_operators,
    no_data_dependent_shapes,
    own_operators_have_bodies,
    function_names_are_new,
    no_grid_sample,
    operands_agree,
    norms_have_one_type,
    attention_form,
    cache_form,
    rotary_form,
    resize_form,
    top_k_form,
    scatter_and_scan_form,
    outputs_are_named,
    no_wide_or_byte_types,
    no_empty_weights,
    weights_stay_inside,
)
OF_TENSORRT: tuple[Check, ...] = (importable_operators, no_wide_or_byte_types)
NOTES: tuple[Check, ...] = (attention_needs_decomposition,)
