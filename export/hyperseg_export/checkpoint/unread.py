"""Weight files that nobody reads: trained weights must not be left out without a word."""

import re
from collections.abc import Iterable
from pathlib import Path

from hyperseg_runtime.errors import CheckpointError

ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""An adapter's factors, which `lora` reads."""
WEIGHTS = tuple(".safetensors .bin .pt .pth .ckpt .h5 .msgpack .gguf .npz .npy .pkl .pickle".split())
COPIES = re.compile(r"(pytorch_model|tf_model|flax_model|consolidated|ggml).*|.*\.gguf|adapter_model\.bin")
"""The same weights in another format, by the names that their writers give them."""
TRAINING_STATE = re.compile(
    r"(auxiliaries|training_args|optimizer|scheduler|scaler|rng_state|random_states|trainer_state|.*optim_states|.*model_states).*"
)
"""What a training run needs to go on; nothing of it changes results."""


def refuse_unread(folder: Path, read: Iterable[Path]) -> None:
    """Raise CheckpointError if `folder` holds weights beside those that are `read`."""
    known = {path.name for path in read}
    unread = [
        path.name
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in WEIGHTS
        and path.name not in known
        and not (COPIES.fullmatch(path.name) or TRAINING_STATE.fullmatch(path.name))
    ]
    if unread:
        raise CheckpointError(
            f"checkpoint {folder}: {', '.join(unread)} beside the weights would be left out; if it belongs to the "
            "model, merge it into the shards where it was trained, else move it away"
        )
