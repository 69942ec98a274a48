"""What the tests of mask readout share: random cases, the tolerances, ONNX models of one node."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from hypothesis import strategies as st
from onnx import TensorProto, helper

from hyperseg_export.onnx.writer import IR_VERSION, OPSET
from hyperseg_kernels.catalog import MASK_READOUT, PLUGIN_ATTRIBUTES
from hyperseg_kernels.mask_readout import onnx_op, reference
from hyperseg_kernels.mask_readout.axis import Axis, axis
from hyperseg_kernels.mask_readout.reference import PARTS, read_masks

SIGN = 2e-6
"""A float32 logit of a weighted sum of 16 sources is off by a few units in the last place of the largest of them;
nearer to zero than that, the side it falls on may differ from float64's."""
SUM = 5e-6
"""Per pixel inside: sigmoids are good to 3 units in the last place, and rows of at most 2,000 are added in float32."""
STRANGE = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e30, -1e30, 1e-30)


@dataclass(frozen=True)
class Case:
    logits: np.ndarray  # (B, Q, h, w)
    shown: np.ndarray  # (B, M) int32
    rows: Axis
    columns: Axis

    def inputs(self) -> dict[str, np.ndarray]:
        tables = {
            f"{name}_{what}": getattr(one, what)
            for name, one in (("row", self.rows), ("column", self.columns))
            for what in ("index", "weight")
        }
        return {"mask_logits": self.logits, "shown": self.shown, **tables}

    def shapes(self) -> tuple[int, int, int, int, int, int]:
        """Q, M, h, w, H, W: the numbers that a kernel takes."""
        _, queries, height, width = self.logits.shape
        return queries, self.shown.shape[1], height, width, self.rows.size, self.columns.size


def random_case(
    seed: int, size: tuple[int, int, int, int], masks: int, image_hw: tuple[int, int], padded_px: int = 64
) -> Case:
    """Smooth logits with both signs, as a network makes them."""
    random = np.random.default_rng(seed)
    images, queries, height, width = size
    waves = np.sin(np.arange(height)[:, None] / 5 + random.uniform(0, 9, (images, queries, 1, 1)))
    logits = 4 * waves * np.cos(np.arange(width) / 4) + random.normal(-1, 2, (images, queries, 1, 1))
    rows, columns = (
        axis(source, padded_px, max(1, padded_px * extent // max(image_hw)), extent)
        for source, extent in zip((height, width), image_hw, strict=True)
    )
    shown = random.integers(0, queries, (images, masks), np.int32)
    return Case(logits.astype(np.float32), shown, rows, columns)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any sizes, up or down, and logits no network should produce but a fault can."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images, queries, masks = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    axes = []
    for _ in range(2):
        source, padded, original = (draw(st.integers(1, most)) for most in (20, 70, 80))
        axes.append((source, axis(source, padded, draw(st.integers(1, padded)), original)))
    (height, rows), (width, columns) = axes
    logits = random.normal(draw(st.sampled_from((-3, 0, 3))), 3, (images, queries, height, width)).astype(np.float32)
    flat = logits.reshape(-1)
    for place, value in draw(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(STRANGE)), max_size=6)):
        flat[place % len(flat)] = value
    return Case(logits, random.integers(0, queries, (images, masks), np.int32), rows, columns)


def check(found: Sequence[np.ndarray], case: Case) -> None:
    """All are the reference's, part by part; only pixels that float32 cannot tell from zero may differ."""
    expected = read_masks(case.logits, case.shown, case.rows, case.columns)
    sums, areas, pixels = found
    types = (np.float32, np.int32, np.bool_)
    assert tuple(array.dtype for array in found) == types
    assert pixels.shape == expected.pixels.shape
    near_zero = undecided(case)
    doubtful = np.stack([near_zero[:, :, part::PARTS].sum((2, 3)) for part in range(PARTS)], -1)
    assert sums.shape == areas.shape == doubtful.shape
    assert (np.abs(areas - expected.areas) <= doubtful).all()
    assert (np.abs(sums - expected.sums) <= 0.51 * doubtful + SUM * (expected.areas + 1)).all()
    for image, mask in np.ndindex(*case.shown.shape):
        wrong = pixels[image, mask] != expected.pixels[image, mask]
        assert not (wrong & ~near_zero[image, case.shown[image, mask]]).any()


def undecided(case: Case) -> np.ndarray:
    """(B, Q, H, W) bool: the logit is as near to zero as rounding errors may be large."""
    images, queries = case.logits.shape[:2]
    near = np.zeros((images, queries, case.rows.size, case.columns.size), bool)
    for image, query in np.ndindex(images, queries):
        logits = case.logits[image, query].astype(np.float64)
        finite = np.abs(logits[np.isfinite(logits)])
        largest = reference.resampled(np.where(np.isfinite(logits), np.abs(logits), 0), case.rows, case.columns)
        # The sources of a pixel, or all of them where their shares are too small to show.
        margin = SIGN * np.maximum(largest, 1e-7 * finite.max(initial=0))
        near[image, query] = np.abs(reference.resampled(logits, case.rows, case.columns)) <= margin
    return near


def model_of(value_type: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """One node with its body; every size is free."""
    onnx_op.register_schema()
    described = {
        "mask_logits": (value_type, ["B", "Q", "h", "w"]),
        "shown": (TensorProto.INT32, ["B", "M"]),
        "row_index": (TensorProto.INT32, [4, "H"]),
        "row_weight": (TensorProto.FLOAT, [4, "H"]),
        "column_index": (TensorProto.INT32, [4, "W"]),
        "column_weight": (TensorProto.FLOAT, [4, "W"]),
        "sums": (TensorProto.FLOAT, ["B", "Q", PARTS]),
        "areas": (TensorProto.INT32, ["B", "Q", PARTS]),
        "pixels": (TensorProto.BOOL, ["B", "M", "H", "W"]),
    }
    infos = [helper.make_tensor_value_info(name, *described[name]) for name in described]
    names = list(described)
    node = helper.make_node(MASK_READOUT.name, names[:6], names[6:], domain=MASK_READOUT.domain, **PLUGIN_ATTRIBUTES)
    return helper.make_model(
        helper.make_graph([node], "g", infos[:6], infos[6:]),
        functions=[onnx_op.function_body(OPSET)],
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid(MASK_READOUT.domain, MASK_READOUT.version),
        ],
        ir_version=IR_VERSION,
    )


def session_of(
    libraries: Sequence[Path] = (), value_type: int = TensorProto.FLOAT, threads: int = 1
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(model_of(value_type).SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, case: Case) -> list[np.ndarray]:
    return [np.asarray(output) for output in session.run(None, case.inputs())]
