"""How nodes of our own operators run in an engine; the ONNX file is the same for all three (kernels/README.md).

ahead-of-time   A plugin that holds a kernel compiled for this GPU and these sizes; nothing ships beside the engine.
library         A plugin of a library, which is carried beside the engine and loaded before it is read.
body            The node's body of standard operators, with sums in place of products (`engine.bodies`).

A TensorRT parser takes a registered plugin for a node that names a namespace, and else the body, without a word
(onnx-tensorrt, ModelImporter.cpp, parseNode: isPluginNode, then localFunctions). So the audit counts the plugin layers.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from hyperseg_kernels.catalog import KERNELS
from hyperseg_kernels.cuda import nvrtc
from hyperseg_kernels.native import NativeBuildError
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import EnvironmentMissingError, InputError

NAMESPACE = "plugin_namespace"
"""The attribute that makes a node ask for a plugin."""


class PluginForm(StrEnum):
    AHEAD_OF_TIME = "ahead-of-time"
    LIBRARY = "library"
    BODY = "body"


def form_of(spec: GraphSpec, asked: PluginForm) -> PluginForm | None:
    """None for a graph without operators of our own; the body for one whose operators no plugin knows."""
    if not spec.custom_ops:
        return None
    return asked if any(str(kernel) in spec.custom_ops for kernel in KERNELS) else PluginForm.BODY


def require_kernels(graphs: Sequence[str], portable: Sequence[str]) -> None:
    """Raise, before anything is built, where kernels for `graphs` cannot be made ahead of time.

    `portable` are the options of the build by which engines run elsewhere. Raises InputError for those, and
    EnvironmentMissingError without the compiler.
    """
    names = ", ".join(graphs)
    if portable:
        raise InputError(
            f"{' and '.join(portable)}: the plugins of {names} hold kernels for this GPU and this TensorRT; name a "
            "library of plugins (--plugin FILE), or take the operators' bodies, slower (--no-plugins)"
        )
    try:
        nvrtc.load()
    except NativeBuildError as error:
        raise EnvironmentMissingError(
            f"the plugins of {names} cannot be made: {error} (or take the operators' bodies, slower: --no-plugins)"
        ) from error


def register_kernels(form: PluginForm | None, architecture: str) -> None:
    """Before a network is parsed, once per process; those of libraries are registered by loading them."""
    if form is PluginForm.AHEAD_OF_TIME:
        from hyperseg_kernels import tensorrt_aot

        tensorrt_aot.register(architecture)


def planned_layers(onnx_file: Path, form: PluginForm | None) -> int:
    """How many plugin layers the engine of this file has to have: one for each node that asks for one."""
    if form in (None, PluginForm.BODY):
        return 0
    import onnx

    nodes = onnx.load(onnx_file, load_external_data=False).graph.node
    return sum(any(attribute.name == NAMESPACE for attribute in node.attribute) for node in nodes)


def advice(graph: str, form: PluginForm | None) -> str:
    """What to try where an engine with plugins is wrong or cannot be built."""
    if form in (None, PluginForm.BODY):
        return ""
    return f"our operators ran as plugins ({form}): if they are at fault, try build --graph {graph} --no-plugins"


def kernel_sources() -> Iterator[str]:
    """Texts from which kernels are made ahead of time."""
    folder = Path(nvrtc.__file__).parents[1]
    for pattern in ("*.py", "csrc/*.h"):
        yield from (path.read_text() for path in sorted(folder.rglob(pattern)))
