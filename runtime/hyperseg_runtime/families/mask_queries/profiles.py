"""How engines of the language model's graphs are tuned."""

from hyperseg_runtime.contracts.graph_spec import AxisRange, GraphSpec, Reuse
from hyperseg_runtime.families.family import NO_HINTS, ProfileHints

SUFFIX_TOKENS = 256
"""Longest part of a prompt after the image: 100 mask queries, template and expression take 130 to 190."""

SINGLE = AxisRange(minimum=1, typical=1, maximum=1)


def llm_hints(spec: GraphSpec) -> ProfileHints:
    """The language model gets profiles for whole prompts, suffixes and single tokens; other graphs none."""
    if spec.in_place:
        longest = min(SUFFIX_TOKENS, spec.axis_ranges["tokens"].maximum)
        suffix = AxisRange(minimum=1, typical=max(1, 3 * longest // 4), maximum=longest)
        return ProfileHints(split={"prefill": {}, "suffix": {"tokens": suffix}, "decode": {"tokens": SINGLE}})
    if spec.reuse is Reuse.TOKEN:
        return ProfileHints(split={"prefill": {}, "decode": {"tokens": SINGLE}})
    return NO_HINTS
