"""What the gateway costs: the same requests through it and straight to the server, in turn.

    python benchmarks/serving/bench_gateway.py BUNDLE            # the server of `serve install-local`, a minute

Median round trips, and the median of the differences of neighbouring calls: over gRPC for an image seen before and for
one never seen, over HTTP, and for a call that does no work (the server's metadata). The gateway is as `serve up
--gateway` starts it, without keys and TLS, and with both. The last line of output is the path of the JSON file.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench_serving import TEXT, last_of, pictures, positive
from tritonclient import grpc

from hyperseg_bench import measure
from hyperseg_serving.client.access import CA_VARIABLE, KEY_VARIABLE
from hyperseg_serving.client.client import Client
from hyperseg_serving.gateway.envoy import find_envoy
from hyperseg_serving.gateway.forwarding import forwarding_of
from hyperseg_serving.gateway.gateway import Gateway
from hyperseg_serving.gateway.settings import GatewaySettings, Key, Tls
from hyperseg_serving.server.command import Address
from hyperseg_serving.server.process import Server
from hyperseg_serving.server.trial import trial_server

KEY = "a-key-of-the-benchmark"
HEAD = ("what", "gateway", "straight ms", "through it ms", "the gateway's share ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--rounds", type=positive, default=100)
    parser.add_argument("--table", action="store_true", help="Print the stored results as a table and stop.")
    options = parser.parse_args()
    if options.table:
        print(markdown())
        return
    if options.bundle is None:
        parser.error("BUNDLE is missing")
    load = os.getloadavg()[0]
    with trial_server(options.bundle, threads=1) as server:
        rows = [*compared(server, options.rounds, with_keys=False), *compared(server, options.rounds, with_keys=True)]
    version = subprocess.run([find_envoy(), "--version"], capture_output=True, text=True, check=True).stdout.split("/")[
        -4
    ]
    environment = {**measure.environment(), "envoy": version, "load_before": round(load, 2), "text": TEXT}
    print(measure.write_results("gateway", {"environment": environment, "rounds": options.rounds, "rows": rows}))


def compared(server: Server, rounds: int, with_keys: bool) -> Iterator[dict[str, Any]]:
    with gateway(server, with_keys) as settings:
        urls = settings.urls()
        with (
            Client(server.address.grpc_url) as straight,
            Client(urls["grpc"]) as through,
            Client(server.address.http_url) as straight_http,
            Client(urls["http"]) as through_http,
        ):
            (seen,) = pictures(1, 0)
            new = iter(pictures(2 * rounds + 2, 1))
            # Two clients of one server never send the same new picture: the second would find it remembered.
            rivals: dict[str, Sequence[Callable[[], object]]] = {
                "gRPC, image seen before": [lambda: last_of(straight, seen), lambda: last_of(through, seen)],
                "HTTP, image seen before": [lambda: last_of(straight_http, seen), lambda: last_of(through_http, seen)],
            }
            if not with_keys:
                rivals["gRPC, new image"] = [lambda: last_of(straight, next(new)), lambda: last_of(through, next(new))]
                rivals["gRPC, no work"] = [bare(server.address.grpc_url), bare(urls["grpc"])]
            for what, pair in rivals.items():
                samples = [[1000 * s for s in each] for each in measure.alternate(pair, rounds)]
                first, second = map(median, samples)
                row = {
                    "what": what,
                    "gateway": "keys and TLS" if with_keys else "plain",
                    "straight_ms": round(first, 3),
                    "through_ms": round(second, 3),
                    "share_ms": round(median(b - a for a, b in zip(*samples, strict=True)), 3),
                    "samples_ms": [[round(ms, 3) for ms in each] for each in samples],
                }
                print({name: value for name, value in row.items() if name != "samples_ms"})
                yield row


def bare(url: str) -> Callable[[], object]:
    """A call that the server answers without any work."""
    client = grpc.InferenceServerClient(url.removeprefix("grpc://"))
    return lambda: client.get_server_metadata()


@contextmanager
def gateway(server: Server, with_keys: bool) -> Iterator[GatewaySettings]:
    forwarding = forwarding_of(server.settings.repository)
    ports = Address(0, 0, 0).chosen()
    with tempfile.TemporaryDirectory() as work:
        settings = GatewaySettings(ports, requests_per_minute=1_000_000)
        if with_keys:
            settings = GatewaySettings(
                ports, [Key("benchmark", KEY)], certificate(Path(work)), requests_per_minute=1_000_000
            )
            os.environ |= {KEY_VARIABLE: KEY, CA_VARIABLE: str(Path(work) / "certificate.pem")}
        with Gateway(forwarding, settings, server.address):
            yield settings


def certificate(folder: Path) -> Tls:
    """Of this machine's loopback address, by openssl."""
    tls = [folder / "certificate.pem", folder / "key.pem"]
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", tls[0], "-keyout", tls[1],
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return Tls(*tls)


def markdown() -> str:
    """What the README shows."""
    content = json.loads((measure.RESULTS / "gateway.json").read_text())
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for row in content["rows"]:
        times = (row["straight_ms"], row["through_ms"], row["share_ms"])
        lines.append(f"| {row['what']} | {row['gateway']} | {' | '.join(f'{ms:.2f}' for ms in times)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
