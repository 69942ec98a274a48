"""A backend chosen by its name; never another one instead."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from hyperseg_runtime.backends.base import Backend
from hyperseg_runtime.errors import InputError

NAMES = ("onnxruntime", "tensorrt")


@dataclass(frozen=True)
class EngineChoice:
    """Which engines are run, and how; see `TensorRTBackend`."""

    accept_unmeasured: bool = False
    plugins: tuple[Path, ...] = ()
    target: str | None = None
    weight_streaming_bytes: int | None = None
    overlap: bool = True

    @classmethod
    def asked(
        cls, accept_unmeasured: bool, plugins: Sequence[Path] | None, target: str | None, weights_gb: float | None
    ) -> Self:
        """From options of a command line. Raises InputError for what is no amount of memory."""
        if weights_gb is not None and not (math.isfinite(weights_gb) and weights_gb >= 0):
            raise InputError(f"--weights-gb is {weights_gb}, expected a number of gigabytes, 0 or more")
        budget = None if weights_gb is None else int(weights_gb * 1e9)
        return cls(accept_unmeasured, tuple(plugins or ()), target, budget)


ANY_ENGINES = EngineChoice()


def make_backend(
    name: str,
    bundle: Path,
    threads: int | None = None,
    custom_op_libraries: Sequence[Path] = (),
    engines: EngineChoice = ANY_ENGINES,
) -> Backend:
    """The backend `name` for a bundle. Raises InputError for an unknown name or options of another backend."""
    if name not in NAMES:
        raise InputError(f"unknown backend {name!r}; choose {', '.join(NAMES)}")
    if name == "tensorrt":
        from hyperseg_runtime.backends.tensorrt import TensorRTBackend

        if threads is not None or custom_op_libraries:
            raise InputError("--threads and --native are for the backend onnxruntime; engines run on the GPU")
        return TensorRTBackend(
            bundle,
            engines.accept_unmeasured,
            engines.weight_streaming_bytes,
            plugins=engines.plugins,
            overlap=engines.overlap,
            target=engines.target,
        )
    from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend

    if replace(engines, overlap=True) != ANY_ENGINES:
        raise InputError("--accept-unmeasured, --plugin, --engines and --weights-gb go with --backend tensorrt")
    return OnnxRuntimeBackend(threads, custom_op_libraries)
