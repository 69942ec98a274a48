"""From a bundle to masks. Needs numpy, a tokenizer and one engine library; never imports torch.

Imports flow one way: hyperseg_kernels <- hyperseg_runtime <- hyperseg_export.
"""

from hyperseg_runtime.contracts.results import SegmentationResult
from hyperseg_runtime.errors import HypersegError
from hyperseg_runtime.session.pipeline import Pipeline

__all__ = ["HypersegError", "Pipeline", "SegmentationResult"]
