"""Envoy's HTTP filters in their order: who calls, how often, what stands inside, and then on to the server."""

from importlib.resources import files
from typing import Any

from hyperseg_serving.contract import CALL_HEADER
from hyperseg_serving.gateway.forwarding import MAX_DEPTH, Forwarding
from hyperseg_serving.gateway.settings import GatewaySettings
from hyperseg_serving.refusals import CODES, STATUSES, Reason

EXTENSIONS = "type.googleapis.com/envoy.extensions.filters.http"
KEY_FILTER, SCRIPT_FILTER = "envoy.filters.http.api_key_auth", "envoy.filters.http.lua"
CALLER_HEADER = "x-caller"
"""Set by the gateway alone; a caller's own is removed."""
STRIPPED_HEADERS = ("inference-header-content-length", CALLER_HEADER, CALL_HEADER)
"""Of requests: what changes how the server reads a body, and what the gateway alone says."""
Filter = dict[str, Any]


def http_filters(settings: GatewaySettings, forwarding: Forwarding) -> list[Filter]:
    return [*_common(settings), _script("json_guard.lua", _json_constants(forwarding)), router()]


def grpc_filters(settings: GatewaySettings, forwarding: Forwarding) -> list[Filter]:
    return [*_common(settings), _script("grpc_guard.lua", _grpc_constants(forwarding)), router()]


def unasked() -> dict[str, Any]:
    """For a route that needs no key and whose body nobody reads."""
    disabled = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    return {"typed_per_filter_config": {KEY_FILTER: disabled, SCRIPT_FILTER: disabled}}


def _common(settings: GatewaySettings) -> list[Filter]:
    keys = [_keys(settings)] if settings.keys else []
    return [_strip(), *keys, _rate(settings)]


def _strip() -> Filter:
    """Before all others, so that nobody can name a caller or bring the server's own key."""
    removed = [{"remove": name} for name in STRIPPED_HEADERS]
    return _filter("header_mutation", "HeaderMutation", {"mutations": {"request_mutations": removed}})


def _keys(settings: GatewaySettings) -> Filter:
    return _filter(
        "api_key_auth",
        "ApiKeyAuth",
        {
            "credentials": [{"key": key.key, "client": key.caller} for key in settings.keys],
            "key_sources": [{"header": "authorization"}],
            "forwarding": {"header": CALLER_HEADER, "hide_credentials": True},
        },
    )


def _rate(settings: GatewaySettings) -> Filter:
    """A bucket for each caller, and none behind it: fairness between requests is the server's."""
    per_minute = settings.requests_per_minute
    bucket = {
        "max_tokens": max(1, per_minute // 10),
        "tokens_per_fill": max(1, per_minute // 60),
        "fill_interval": "1s",
    }
    caller = (
        {"request_headers": {"header_name": CALLER_HEADER, "descriptor_key": "caller"}}
        if settings.keys
        else {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}
    )
    entry = "caller" if settings.keys else "masked_remote_address"
    enabled = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return _filter(
        "local_ratelimit",
        "LocalRateLimit",
        {
            "stat_prefix": "rate",
            "token_bucket": {"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"},
            "filter_enabled": enabled,
            "filter_enforced": enabled,
            "rate_limits": [{"actions": [caller]}],
            "descriptors": [{"entries": [{"key": entry}], "token_bucket": bucket}],
            "max_dynamic_descriptors": 10_000,
            "rate_limited_as_resource_exhausted": True,
        },
    )


def _script(name: str, constants: str) -> Filter:
    source = constants + files("hyperseg_serving.gateway").joinpath(name).read_text()
    return _filter("lua", "Lua", {"default_source_code": {"inline_string": source}})


def _grpc_constants(forwarding: Forwarding) -> str:
    models = ", ".join(
        f'["{model}"] = {{ {", ".join(f"{name} = true" for name in inputs)} }}'
        for model, inputs in forwarding.grpc_models().items()
    )
    return f"local MODELS = {{ {models} }}\nlocal MAX_MESSAGE_BYTES = {forwarding.max_message_bytes}\n"


def _json_constants(forwarding: Forwarding) -> str:
    inputs = ", ".join(f"{name} = true" for name in (*forwarding.public_inputs(), "id"))
    named = ", ".join(f'{reason} = "{status}"' for reason, status in statuses().items())
    return (
        f"local INPUTS = {{ {inputs} }}\nlocal MAX_DEPTH, MAX_TEXTS = {MAX_DEPTH}, {forwarding.max_texts}\n"
        f"local MAX_MS = {forwarding.longest_s * 1000}\n"
        f"local STATUSES = {{ {named} }}\n"
    )


def router() -> Filter:
    return _filter("router", "Router", {})


def _filter(name: str, kind: str, config: dict[str, Any]) -> Filter:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{EXTENSIONS}.{name}.v3.{kind}", **config},
    }


def statuses() -> dict[Reason, int]:
    """Of what models say that is no fault of the caller."""
    return {reason: STATUSES[code] for reason, code in CODES.items()} | {Reason.TIMEOUT: 504}
