"""Envoy's whole configuration, as the JSON it reads.

Three listeners on the ports that callers know (HTTP, gRPC, metrics), six places behind them on the loopback address.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperseg_serving.gateway import forwarding as routes
from hyperseg_serving.gateway.filters import grpc_filters, http_filters, router, unasked
from hyperseg_serving.gateway.forwarding import Forwarding
from hyperseg_serving.gateway.replies import REPLIES
from hyperseg_serving.gateway.settings import GatewaySettings, Tls
from hyperseg_serving.server.command import Address

Config = dict[str, Any]
HTTP, GRPC, RELAY, ENSEMBLE, METRICS, ADMIN = "http", "grpc", "relay", "ensemble", "metrics", "admin"
"""Clusters."""
GATEWAY_METRICS = "/gateway-metrics"
CONNECT_S = 1
HEADERS_S = 10
"""Within which a request's headers must have come."""
HEAP_BYTES = 2_000_000_000
NETWORK = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
STREAM_LOG = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
CONNECTIONS = (
    "envoy.resource_monitors.global_downstream_max_connections",
    "downstream_connections.v3.DownstreamConnectionsConfig",
)
HEAP = "envoy.resource_monitors.fixed_heap", "fixed_heap.v3.FixedHeapConfig"
LOGGED = {
    "time": "%START_TIME%", "request": "%REQ(X-REQUEST-ID)%", "caller": "%REQ(X-CALLER)%",
    "from": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "method": "%REQ(:METHOD)%", "path": "%PATH(NQ)%",
    "status": "%RESPONSE_CODE%", "grpc": "%GRPC_STATUS(CAMEL_STRING)%", "flags": "%RESPONSE_FLAGS%",
    "why": "%RESPONSE_CODE_DETAILS%", "ms": "%DURATION%", "in_bytes": "%BYTES_RECEIVED%", "out_bytes": "%BYTES_SENT%",
}  # fmt: skip


def bootstrap(
    forwarding: Forwarding, settings: GatewaySettings, upstream: Address, relay_port: int, admin: Path
) -> Config:
    """`upstream` is the server, `relay_port` that of `relay.py`, `admin` a socket in a folder that nobody else can
    enter.
    """
    at = settings.address
    return {
        "admin": {"address": _pipe(admin)},
        "static_resources": {
            "listeners": [
                {
                    **_listener(HTTP, at.host, at.http_port, _http(forwarding, settings), settings.tls, "http/1.1"),
                    "per_connection_buffer_limit_bytes": forwarding.max_body_bytes,
                },
                _listener(GRPC, at.host, at.grpc_port, _grpc(forwarding, settings), settings.tls, "h2"),
                _listener(METRICS, at.host, at.metrics_port, _metrics()),
            ],
            "clusters": [
                _server(HTTP, upstream.http_port, upstream.http_port),
                _server(GRPC, upstream.grpc_port, upstream.http_port, http2=True),
                _server(RELAY, relay_port, upstream.http_port, http2=True),
                _server(ENSEMBLE, upstream.http_port, upstream.http_port, at_once=forwarding.ensemble_at_once),
                _server(METRICS, upstream.metrics_port, None),
                _cluster(ADMIN, _pipe(admin)),
            ],
        },
        "overload_manager": {
            "resource_monitors": [
                _monitor(CONNECTIONS, {"max_active_downstream_connections": settings.max_connections}),
                _monitor(HEAP, {"max_heap_size_bytes": HEAP_BYTES}),
            ],
            "actions": [
                {
                    "name": "envoy.overload_actions.stop_accepting_requests",
                    "triggers": [{"name": HEAP[0], "threshold": {"value": 0.9}}],
                }
            ],
        },
    }


def _http(forwarding: Forwarding, settings: GatewaySettings) -> Config:
    timeout = f"{forwarding.longest_s}s"
    reads = [_route(path, "GET", HTTP, timeout=timeout) for path in forwarding.http_reads()]
    asked = [_route(forwarding.http_stream, "POST", HTTP, timeout=timeout)]
    if forwarding.http_ensemble:
        asked.append(_route(forwarding.http_ensemble, "POST", ENSEMBLE, timeout=timeout))
    health = [{**_route(path, "GET", HTTP, timeout="5s"), **unasked()} for path in routes.OPEN_PATHS]
    compressed = {
        "match": {"prefix": "/", "headers": [{"name": "content-encoding", "present_match": True}]},
        "direct_response": {"status": 415},
        **unasked(),
    }
    return {
        **_manager(HTTP, forwarding, settings, [compressed, *health, *reads, *asked]),
        "http_filters": http_filters(settings, forwarding),
        "request_timeout": timeout,  # until the body has come, however slowly
    }


def _grpc(forwarding: Forwarding, settings: GatewaySettings) -> Config:
    """A plain call's own deadline counts where it has one. A stream lives as long as something goes through it, and its
    deadline is the caller's to keep: at the same moment here it would look like a fault of the server.
    """
    timeout = f"{forwarding.longest_s}s"
    honoured = {"max_stream_duration": {"grpc_timeout_header_max": timeout}}
    calls = [
        _route(call, "POST", RELAY if call in routes.RELAYED else GRPC, timeout=timeout, **honoured)
        for call in (f"{routes.SERVICE}/{name}" for name in routes.GRPC_CALLS)
    ]
    stream = {
        **_route(routes.GRPC_STREAM, "POST", RELAY, timeout="0s", idle_timeout=timeout),
        "request_headers_to_remove": ["grpc-timeout"],
    }
    health = {**_route(routes.GRPC_HEALTH, "POST", GRPC, timeout="5s"), **unasked()}
    for route in (*calls, stream, health):
        route["match"]["grpc"] = {}
    return {
        **_manager(GRPC, forwarding, settings, [health, *calls, stream]),
        "http_filters": grpc_filters(settings, forwarding),
        "codec_type": "HTTP2",
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
    }


def _metrics() -> Config:
    """The server's page, and the gateway's own."""
    own = _route(GATEWAY_METRICS, "GET", ADMIN, timeout="10s", prefix_rewrite="/stats/prometheus")
    return {
        "stat_prefix": METRICS,
        "route_config": _routes([_route("/metrics", "GET", METRICS, timeout="10s"), own]),
        "http_filters": [router()],
    }


def _manager(name: str, forwarding: Forwarding, settings: GatewaySettings, found: Sequence[Config]) -> Config:
    log: Config = {
        "name": "log",
        "typed_config": {"@type": STREAM_LOG, "log_format": {"json_format": LOGGED}},
    }
    if not settings.log_all:
        failed = {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "none"}}}
        not_ok = {"statuses": ["OK", "CANCELED"], "exclude": True}
        log["filter"] = {"grpc_status_filter": not_ok} if name == GRPC else {"status_code_filter": failed}
    return {
        "stat_prefix": name,
        "route_config": _routes(found),
        "use_remote_address": True,  # who called is what the connection says
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "always_set_request_id_in_response": True,
        "request_headers_timeout": f"{HEADERS_S}s",
        "stream_idle_timeout": f"{forwarding.longest_s}s",
        "max_request_headers_kb": 32,
        "common_http_protocol_options": {
            # `triton_grpc_error` ends release 24.10 at the first error that is sent so.
            "headers_with_underscores_action": "DROP_HEADER",
            "max_headers_count": 64,
            "idle_timeout": "300s",
        },
        "local_reply_config": {"mappers": [reply.to_mapper(grpc=name == GRPC) for reply in REPLIES]},
        "access_log": [log],
        "server_name": "gateway",
    }


def _routes(found: Sequence[Config]) -> Config:
    nothing = {"match": {"prefix": "/"}, "direct_response": {"status": 404}, **unasked()}
    host = {"name": "all", "domains": ["*"], "routes": [*found, nothing]}
    return {"virtual_hosts": [host]}


def _route(path: str, method: str, cluster: str, **action: Any) -> Config:
    """Never sent twice: neither streams nor frames may be, and the client knows what was not sent."""
    headers = [{"name": ":method", "string_match": {"exact": method}}]
    return {"match": {"path": path, "headers": headers}, "route": {"cluster": cluster, **action}}


def _listener(
    name: str, host: str, port: int, manager: Config, tls: Tls | None = None, protocol: str = "http/1.1"
) -> Config:
    connection_manager = {"name": "http", "typed_config": {"@type": NETWORK, **manager}}
    chain: Config = {"filters": [connection_manager]}
    if tls:
        chain["transport_socket"] = _tls(tls, protocol)
    return {
        "name": name,
        "address": _socket(host, port),
        "enable_reuse_port": False,  # two programs on one port would share its callers
        "filter_chains": [chain],
    }


def _tls(tls: Tls, protocol: str) -> Config:
    files = {"certificate_chain": {"filename": str(tls.certificate)}, "private_key": {"filename": str(tls.key)}}
    common = {
        "alpn_protocols": [protocol],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [files],
    }
    return {"name": "tls", "typed_config": {"@type": TLS, "common_tls_context": common}}


def _server(name: str, port: int, health_port: int | None, http2: bool = False, at_once: int = 1024) -> Config:
    """A part of the server. While its health does not answer, callers are told at once.

    Over HTTP each request has a connection of its own: the server's stop waits for those that are kept open.
    """
    from_us: Config = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    kept: Config = {} if http2 else {"common_http_protocol_options": {"max_requests_per_connection": 1}}
    bound = {"max_connections": at_once, "max_requests": at_once, "max_pending_requests": at_once, "max_retries": 0}
    cluster = {
        **_cluster(name, _socket("127.0.0.1", port)),
        "circuit_breakers": {"thresholds": [bound]},
        "typed_extension_protocol_options": {
            UPSTREAM: {"@type": f"type.googleapis.com/{UPSTREAM}", "explicit_http_config": from_us, **kept}
        },
    }
    if health_port:
        cluster["health_checks"] = [_health()]
        cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["health_check_config"] = {"port_value": health_port}
    return cluster


def _health() -> Config:
    return {
        "timeout": "2s",
        "interval": "1s",
        "unhealthy_interval": "0.5s",
        "no_traffic_interval": "1s",
        "reuse_connection": False,
        "unhealthy_threshold": 3,  # a busy server is not a dead one; a connection that fails counts at once
        "healthy_threshold": 1,
        "http_health_check": {"path": routes.OPEN_PATHS[1]},
    }


def _cluster(name: str, address: Config) -> Config:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": f"{CONNECT_S}s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _monitor(kind: tuple[str, str], config: Config) -> Config:
    name, message = kind
    return {
        "name": name,
        "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.resource_monitors.{message}", **config},
    }


def _socket(host: str, port: int) -> Config:
    return {"socket_address": {"address": host, "port_value": port}}


def _pipe(path: Path) -> Config:
    return {"pipe": {"path": str(path), "mode": 0o600}}
