"""Tensor names without what wrappers around a model put into them."""

from collections.abc import Iterable
from itertools import takewhile

WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_forward_module.", "base_model.model.")
"""Before every name: training on several devices, torch.compile, FSDP, Lightning's Fabric, peft."""
INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "base_layer.")
"""Also where a part of the model was wrapped: torch.compile, FSDP, activation checkpointing, peft."""


def plain_name(stored: str) -> str:
    """The name that the unwrapped model gives the tensor."""
    while wrapper := next((wrapper for wrapper in WRAPPERS if stored.startswith(wrapper)), None):
        stored = stored.removeprefix(wrapper)
    for inner in INNER:
        stored = stored.replace(f".{inner}", ".")
    return stored


def plain_names(stored: Iterable[str]) -> dict[str, str]:
    """Stored name -> plain name, of a whole checkpoint.

    What all names begin with is a wrapper, whatever it is called ("model." of Lightning, "net.", "ema."): no model has
    all its tensors in one part. Where numbers follow it is no wrapper but a list of layers, alone in their file.
    """
    plain = {name: plain_name(name) for name in stored}
    parts = [name.split(".")[:-1] for name in plain.values()]
    shared = len(list(takewhile(lambda same: len(set(same)) == 1, zip(*parts, strict=False)))) if len(parts) > 1 else 0
    if any(name[shared].isdecimal() for name in parts if len(name) > shared):
        return plain
    return {name: plain_name(short.split(".", shared)[-1]) for name, short in plain.items()}
