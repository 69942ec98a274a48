"""What a server's refusal becomes at the caller's."""

import re

from hyperseg_runtime.errors import HypersegError, ImageError, InputError, PromptError, ServerError, UnreachableError
from hyperseg_runtime.serving.refusals import Reason

IDENTIFIER = re.compile(r"\b(E_[A-Z_]+): (.*)", re.S)
KINDS: dict[str, type[HypersegError]] = {
    Reason.IMAGE: ImageError,
    Reason.IMAGE_TOO_LARGE: ImageError,
    Reason.TEXT: PromptError,
    Reason.REQUEST: InputError,
    Reason.TOO_MANY: InputError,
    Reason.OPTIONS: InputError,
    Reason.STREAM_UNKNOWN: InputError,
}


def error_of(message: str, unavailable: bool = False) -> HypersegError:
    """An error of our own tree. Refusals that carry no identifier of ours were not seen by a model.

    `unavailable`: the server said so; such a request did nothing and may be sent again.
    """
    found = IDENTIFIER.search(message)
    if found:
        identifier, text = found.groups()
        return KINDS.get(identifier, ServerError)(f"{identifier}: {text.strip()}")
    if unavailable:
        return UnreachableError(f"the server cannot take the request now: {message}")
    return ServerError(f"the server failed: {message}")
