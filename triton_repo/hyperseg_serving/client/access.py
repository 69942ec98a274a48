"""What a caller shows to a gateway, and whom it trusts: from the environment, never from a command line."""

import os
import ssl

KEY_VARIABLE = "HYPERSEG_KEY"
"""The caller's key."""
CA_VARIABLE = "HYPERSEG_CA"
"""A PEM file with the authority that signed the gateway's certificate; default: those of this machine."""


def headers() -> dict[str, str]:
    """Sent with every request."""
    key = os.environ.get(KEY_VARIABLE)
    return {"authorization": f"Bearer {key}"} if key else {}


def authority() -> str | None:
    return os.environ.get(CA_VARIABLE)


def tls_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority())
