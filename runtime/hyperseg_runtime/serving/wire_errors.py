"""What a server's refusal becomes at the caller's."""

import re

from hyperseg_runtime.errors import (
    HypersegError,
    ImageError,
    InputError,
    NumericsError,
    PromptError,
    ServerError,
    UnavailableError,
)
from hyperseg_runtime.serving.refusals import Code, Reason

IDENTIFIER = re.compile(r"\b(E_[A-Z_]+): (.*)", re.S)
KINDS: dict[str, type[HypersegError]] = {
    Reason.IMAGE: ImageError,
    Reason.IMAGE_TOO_LARGE: ImageError,
    Reason.TEXT: PromptError,
    Reason.REQUEST: InputError,
    Reason.TOO_MANY: InputError,
    Reason.OPTIONS: InputError,
    Reason.STREAM_UNKNOWN: InputError,
    Reason.NUMERICS: NumericsError,
}


def error_of(message: str, code: Code) -> HypersegError:
    """An error of our own tree.

    A refusal that carries no identifier of ours comes from the server itself, before any model saw the request:
    then UnavailableError means that nothing was done.
    """
    found = IDENTIFIER.search(message)
    if found:
        identifier, text = found.groups()
        return KINDS.get(identifier, ServerError)(f"{identifier}: {text.strip()}")
    match code:
        case Code.UNAVAILABLE:
            return UnavailableError(f"the server has no room for the request now: {message}")
        case Code.INVALID_ARG | Code.NOT_FOUND | Code.UNSUPPORTED:
            return InputError(f"the server refused the request: {message}")
    return ServerError(f"the server failed at the request: {message}")
