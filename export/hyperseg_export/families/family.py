"""What a family tells the exporter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperseg_export.jobs.progress import Progress
from hyperseg_export.model import ModelPlan, Shapes
from hyperseg_export.parity.golden import GoldenFolder, GoldenReport


@dataclass(frozen=True)
class ExportFamily:
    name: str
    tell_tale: str
    """Prefix of tensor names that only this family has."""
    special_tokens: Mapping[str, str]
    """Role -> token text."""
    plan: Callable[[Mapping[str, Any], Shapes, int | None], ModelPlan]
    """From config.json, tensor shapes and cache slots (None: the family's default); raises CheckpointError."""
    write_tiny: Callable[[Path, int], None]
    """Write a tiny random checkpoint into an empty folder, from a seed."""
    verify_golden: Callable[[GoldenFolder, Progress], GoldenReport]
    """Compare modules and graphs with a folder of arrays made by the original code."""
