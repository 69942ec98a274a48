"""What works on many samples: a bundle on a backend, in plain values that can go to another process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperseg_runtime.session.pipeline import Pipeline


@dataclass(frozen=True)
class Subject:
    """options  the backend's, see `Pipeline.load`"""

    bundle: Path
    backend: str = "onnxruntime"
    options: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """Nothing is remembered between samples: each is asked about once."""
        with Pipeline.load(self.bundle, self.backend, cache_bytes=0, **self.options) as pipeline:
            yield pipeline
