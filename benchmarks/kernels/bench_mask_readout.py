"""Reading the best of 100 masks on a CPU: every query at full size, the bounded search, and the native kernel.

    python benchmarks/kernels/bench_mask_readout.py --rounds 7

All rivals find the winning query, its score and its mask at the size of the image. Logits are random blobs at 256 x
256 on a padded square of 1024; scores are those of a network that is sure (one query stands out) or not. The last
line of output is the path of the JSON file.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from hyperseg_bench import measure
from hyperseg_kernels import cpu_ops
from hyperseg_kernels.mask_readout.axis import Axis, axis
from hyperseg_kernels.mask_readout.reference import PARTS, QUALITY_EPSILON
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.heads.full_size import sigmoid
from hyperseg_runtime.heads.referring import ScoredMask, all_queries, best_query, score_bounds
from hyperseg_runtime.images.preprocessing import ImageGeometry, fitted_size

if TYPE_CHECKING:
    import onnx

QUERIES, SIDE, PADDED = 100, 256, 1024
IMAGES_HW = ((480, 640), (1080, 1920))
BODY_MAX_PX = 480 * 640
"""The body keeps several full-size maps per query; beyond this it takes gigabytes."""
RIVALS = ("every_query", "bounded", "native", "native_bounded", "body")
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--table", action="store_true", help="Print the stored results as a table and stop.")
    options = parser.parse_args()
    if options.table:
        print(markdown(json.loads((measure.RESULTS / "mask_readout.json").read_text())))
        return
    logits = blobs()
    rows = [
        race(logits, sure, image_hw, options.rounds, options.threads)
        for image_hw in IMAGES_HW
        for sure in (True, False)
    ]
    conditions = {
        "rounds": options.rounds,
        "threads": options.threads,
        "queries": QUERIES,
        "logits_px": SIDE,
        "padded_px": PADDED,
    }
    content = {"environment": measure.environment(), "conditions": conditions, "cases": rows}
    print(markdown(content))
    print(measure.write_results("mask_readout", content))


def race(logits: np.ndarray, sure: bool, image_hw: tuple[int, int], rounds: int, threads: int) -> dict[str, Any]:
    """Milliseconds of each rival, ratios to the native kernel on all queries, and whether they agree."""
    random = np.random.default_rng(SEED)
    scores = random.normal(-5 if sure else 0, 1, QUERIES).astype(np.float32)
    scores[0] = 4 if sure else scores[0]
    geometry = ImageGeometry(image_hw, fitted_size(*image_hw, PADDED), (PADDED, PADDED))
    native = Reader(geometry, OnnxRuntimeBackend(threads, [cpu_ops.library()]))
    body = Reader(geometry, OnnxRuntimeBackend(threads))
    rivals: dict[str, Callable[[], ScoredMask]] = {
        "every_query": lambda: max(all_queries(logits, scores, geometry), key=lambda one: (one.score, -one.query)),
        "bounded": lambda: best_query(logits, scores, geometry),
        "native": lambda: native.best(logits, scores),
        "native_bounded": lambda: native.best_bounded(logits, scores),
        "body": lambda: body.best(logits, scores),
    }
    if image_hw[0] * image_hw[1] > BODY_MAX_PX:
        del rivals["body"]
    expected = rivals["every_query"]()
    found = {name: rival() for name, rival in rivals.items()}
    samples = dict(zip(rivals, measure.alternate(list(rivals.values()), rounds, warm_up=0), strict=True))
    return {
        "image_hw": image_hw,
        "scores": "sure" if sure else "unsure",
        "evaluated_by_bound": best_query(logits, scores, geometry).evaluated,
        "ms": {name: round(statistics.median(seconds) * 1000, 2) for name, seconds in samples.items()},
        "times_native": {name: round(measure.ratio(samples[name], samples["native"]), 2) for name in rivals},
        "same_query": {name: one.query == expected.query for name, one in found.items()},
        "score_difference": {name: abs(one.score - expected.score) for name, one in found.items()},
        "differing_px": {name: int((one.mask != expected.mask).sum()) for name, one in found.items()},
        "samples_s": samples,
    }


class Reader:
    """The operator in ONNX Runtime: by the native kernel where the backend has it, else by its body."""

    def __init__(self, geometry: ImageGeometry, backend: OnnxRuntimeBackend) -> None:
        self.geometry = geometry
        sizes = zip(geometry.padded_hw, geometry.valid_hw, geometry.original_hw, strict=True)
        rows, columns = (axis(SIDE, *one) for one in sizes)
        self._tables = table_inputs(rows, columns)
        self._session = ort.InferenceSession(
            model().SerializeToString(), backend.session_options(), providers=["CPUExecutionProvider"]
        )

    def read(self, logits: np.ndarray, shown: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Quality of every query (Q,), masks of some (M, H, W)."""
        inputs = {"mask_logits": logits[None], "shown": np.array([shown], np.int32).reshape(1, -1), **self._tables}
        sums, areas, pixels = (np.asarray(one)[0] for one in self._session.run(None, inputs))
        return sums.sum(-1) / (areas.sum(-1) + QUALITY_EPSILON), pixels

    def best(self, logits: np.ndarray, scores: np.ndarray) -> ScoredMask:
        """All queries in one call, the winner's mask in a second."""
        qualities, _ = self.read(logits, [])
        products = sigmoid(scores) * qualities
        query = int(np.argmax(products))
        _, pixels = self.read(logits[query : query + 1], [0])
        return ScoredMask(query, pixels[0], float(products[query]))

    def best_bounded(self, logits: np.ndarray, scores: np.ndarray) -> ScoredMask:
        """As `best_query`, a query at a time."""
        bounds = score_bounds(logits, scores, self.geometry)
        best: ScoredMask | None = None
        for query in np.argsort(-bounds, kind="stable").tolist():
            if best is not None and bounds[query] < best.score:
                break
            (quality,), (pixels,) = self.read(logits[query : query + 1], [0])
            candidate = ScoredMask(query, pixels, float(sigmoid(scores[query]) * quality))
            if best is None or (candidate.score, -query) > (best.score, -best.query):
                best = candidate
        assert best is not None
        return best


def table_inputs(rows: Axis, columns: Axis) -> dict[str, np.ndarray]:
    return {
        "row_index": rows.index,
        "row_weight": rows.weight,
        "column_index": columns.index,
        "column_weight": columns.weight,
    }


def model() -> "onnx.ModelProto":
    """One node with its body."""
    from onnx import TensorProto, helper

    from hyperseg_export.onnx.writer import IR_VERSION, OPSET
    from hyperseg_kernels.catalog import MASK_READOUT, PLUGIN_ATTRIBUTES
    from hyperseg_kernels.mask_readout import onnx_op

    onnx_op.register_schema()

    def info(name: str, kind: int, *axes: int | str) -> "onnx.ValueInfoProto":
        return helper.make_tensor_value_info(name, kind, axes)

    inputs = [info("mask_logits", TensorProto.FLOAT, "B", "Q", SIDE, SIDE), info("shown", TensorProto.INT32, "B", "M")]
    for name, size in (("row", "H"), ("column", "W")):
        inputs += [
            info(f"{name}_index", TensorProto.INT32, 4, size),
            info(f"{name}_weight", TensorProto.FLOAT, 4, size),
        ]
    outputs = [
        info("sums", TensorProto.FLOAT, "B", "Q", PARTS),
        info("areas", TensorProto.INT32, "B", "Q", PARTS),
        info("pixels", TensorProto.BOOL, "B", "M", "H", "W"),
    ]
    node = helper.make_node(
        MASK_READOUT.name,
        [one.name for one in inputs],
        [one.name for one in outputs],
        domain=MASK_READOUT.domain,
        **PLUGIN_ATTRIBUTES,
    )
    return helper.make_model(
        helper.make_graph([node], "readout", inputs, outputs),
        functions=[onnx_op.function_body(OPSET)],
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid(MASK_READOUT.domain, MASK_READOUT.version),
        ],
        ir_version=IR_VERSION,
    )


def blobs() -> np.ndarray:
    """Round masks of different sizes with soft, noisy edges, (Q, 256, 256)."""
    random = np.random.default_rng(SEED)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    made = np.empty((QUERIES, SIDE, SIDE), np.float32)
    for logits in made:
        centre_y, centre_x = random.uniform(20, SIDE - 20, 2)
        inside = random.uniform(8, 70) - np.hypot(y - centre_y, x - centre_x)
        logits[:] = np.clip(0.6 * inside, -12, 12) + random.normal(0, 0.5, (SIDE, SIDE))
    return made


def markdown(content: dict[str, Any]) -> str:
    """The table that kernels/README.md shows."""
    titles = {
        "every_query": "every query at full size, numpy",
        "bounded": "bounded search, numpy (what the runtime does)",
        "native": "native kernel, all queries",
        "native_bounded": "native kernel in the bounded search",
        "body": "ONNX body, all queries",
    }
    cases = content["cases"]
    heads = [f"{one['image_hw'][1]} x {one['image_hw'][0]}, {one['scores']}" for one in cases]
    lines = [f"| ms | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name, title in titles.items():
        cells = [f"{one['ms'][name]:,.1f}" if name in one["ms"] else "-" for one in cases]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
