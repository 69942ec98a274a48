"""What a caller shows to a gateway, and whom it trusts: from the environment, never from a command line."""

import os
import ssl

from hyperseg_runtime.errors import InputError

KEY_VARIABLE = "HYPERSEG_KEY"
"""The caller's key."""
CA_VARIABLE = "HYPERSEG_CA"
"""A PEM file with the authority that signed the gateway's certificate; default: those of this machine."""


def headers() -> dict[str, str]:
    """Sent with every request."""
    key = os.environ.get(KEY_VARIABLE)
    return {"authorization": f"Bearer {key}"} if key else {}


def authority() -> str | None:
    """The file, or None. Raises InputError for one without a certificate: gRPC would only say that nobody listens."""
    file = os.environ.get(CA_VARIABLE) or None
    if file is not None:
        _require_certificates(file)
    return file


def tls_context() -> ssl.SSLContext:
    """Raises as `authority`."""
    return ssl.create_default_context(cafile=authority())


def _require_certificates(file: str) -> None:
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # those of ssl, too
        raise InputError(
            f"{CA_VARIABLE} names {file}, which cannot be read as certificates ({error.strerror}); expected a PEM file "
            "of the authority that signed the gateway's certificate"
        ) from error
