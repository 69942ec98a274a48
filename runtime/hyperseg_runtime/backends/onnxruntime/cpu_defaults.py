"""How sessions on a CPU are opened and run, each choice with its reason. Names of options: ONNX Runtime 1.31,
onnxruntime_session_options_config_keys.h and onnxruntime_run_options_config_keys.h.
"""

from collections.abc import Sequence
from pathlib import Path

from hyperseg_runtime.backends.onnxruntime.library import ort
from hyperseg_runtime.backends.onnxruntime.session import DISABLED, RELU_REWRITE
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse

PROVIDERS = ["CPUExecutionProvider"]
MAP_FROM_BYTES = 1 << 30
"""Weights from this size on stay in their file (see `session_options`): to copy them takes more than a second."""


def session_options(
    weight_bytes: int, threads: int | None, custom_op_libraries: Sequence[Path], low_memory: bool
) -> "ort.SessionOptions":
    """Options for a graph with so many bytes of weights in a file of its own."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    # Planning one block for all activations costs 1.4 GB at 1024 x 1024 and saves no time.
    options.enable_mem_pattern = False
    # Graphs run one after another: a session's threads must not spin while the next one works.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # By default weights are copied into a second layout: 17 s and 13 GB for a model of 3.3 billion parameters. Without
    # that they are pages of the file, which the system may drop and read again: 1 s and 4.1 GB in all, for 5 to 14 %
    # more time in float32 and none to be seen in int8. Small weights are copied at once and pay it back.
    if low_memory or weight_bytes >= MAP_FROM_BYTES:
        options.add_session_config_entry("session.disable_prepacking", "1")
    # ONNX Runtime 1.31: with this pass some S8 graphs do not open ("output_dtype INT8 does not match y_zero_point
    # UINT8"), and products beside a reshape give 8 bits: it moves Q/DQ pairs to where the next pass does not expect
    # them. Other graphs have nothing to move. Can go when test_cpu_defaults.py passes without it.
    options.add_session_config_entry(DISABLED, f"QDQPropagationTransformer;{RELU_REWRITE}")
    # Processors without VNNI (before Ice Lake and Zen 4) add two products of 8 bits in 16 and cut off what does not
    # fit: a graph of three layers loses 8 times as much as by rounding. With this they multiply U8 by U8, which fits,
    # and opening writes all weights anew, 7 ns a byte; where there is VNNI it changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    for library in custom_op_libraries:
        options.register_custom_ops_library(str(library))
    return options


def run_options(spec: GraphSpec, low_memory: bool) -> "ort.RunOptions | None":
    """Options for every call of a graph. None where there are none: ONNX Runtime 1.31 looks into those that it is given
    for one that is not there, which takes 0.07 ms of every token.
    """
    # A session keeps what its largest call needed: 1.9 GB for an image encoder of 1024 x 1024, 0.55 GB if it gives the
    # rest back, and the graph that runs next can have it. A first call takes the same time, a later one 12 to 17 % more
    # (5.8 and 6.6 CPU seconds): little in a request about a new image, too much in calls that follow each other.
    if not low_memory and spec.reuse is not Reuse.IMAGE:
        return None
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def weight_bytes(path: Path) -> int:
    """What a graph has of weights of its own, in the file that `export` puts beside it; tensors shared with an earlier
    graph are with that one."""
    data = path.with_suffix(".data")
    return data.stat().st_size if data.is_file() else 0
