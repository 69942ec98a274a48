"""What works on many samples: a bundle on a backend, in plain values that can go to another process."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperseg_runtime.bundle.engines import engines_digest
from hyperseg_runtime.bundle.manifest import FILE_NAME
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.session.pipeline import Pipeline

SAME_RESULTS = ("threads", "low_memory", "verify_hashes", "accept_unmeasured", "weight_streaming_bytes", "recordings")
"""Options that change how long the work takes, or whether it may begin, and nothing that comes out."""


@dataclass(frozen=True)
class Subject:
    """options  the backend's, see `Pipeline.load`"""

    bundle: Path
    backend: str = "onnxruntime"
    options: dict[str, Any] = field(default_factory=dict)

    def conditions(self) -> dict[str, Any]:
        """What of it decides results, as JSON. Raises BundleError for a bundle or engines that cannot be read.

        bundle   sha256 of its manifest, which holds those of all its files
        options  those that say something, without `SAME_RESULTS`; libraries by their names, which hash their sources
        engines  `engines_digest`, where engines do the work
        """
        read_manifest(self.bundle)  # says what is wrong with it
        with_engines = self.backend == "tensorrt"
        return {
            "bundle": hashlib.sha256((self.bundle / FILE_NAME).read_bytes()).hexdigest(),
            "backend": self.backend,
            "options": {
                name: [library.name for library in value] if name == "custom_op_libraries" else value
                for name, value in self.options.items()
                if value and name not in SAME_RESULTS
            },
            "engines": engines_digest(self.bundle, self.options.get("target")) if with_engines else None,
        }

    @contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """Nothing is remembered between samples: each is asked about once."""
        with Pipeline.load(self.bundle, self.backend, cache_bytes=0, **self.options) as pipeline:
            yield pipeline
