"""Tensor names without what wrappers around a model put into them."""

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
