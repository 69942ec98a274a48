"""What a server costs: its own time per request, its behaviour under load, its memory.

    python benchmarks/serving/bench_serving.py BUNDLE            # the server of `serve install-local`, a few minutes

1. overhead: a request's round trip against the same work in process, for images never seen and seen before.
2. load: closed loop with 1 to 8 callers, and a fixed rate of half of what was reached; queue and compute time of
   every model from the server's metrics page.
3. memory: the resident size of the model's process over 1,000 requests.
4. hops: what crosses between processes for one image, from the contracts at the published sizes.

The last line of output is the path of the JSON file.
"""

import argparse
import io
import json
import math
import re
import statistics
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil
from load_generator import Load, closed_loop, fixed_rate
from PIL import Image

from hyperseg_bench import measure
from hyperseg_export.samples import sample_images
from hyperseg_runtime.contracts.graph_spec import TensorSpec
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.client.client import Client
from hyperseg_serving.client.grpc_transport import GrpcTransport
from hyperseg_serving.contract import Limits
from hyperseg_serving.names import ModelNames, family_in
from hyperseg_serving.repository.config import RepositorySpec
from hyperseg_serving.repository.writer import published_spec
from hyperseg_serving.server.process import Server
from hyperseg_serving.server.trial import READY_S, trial_server
from hyperseg_serving.service.metrics import STAGE_MS
from hyperseg_serving.service.requests import Request, open_image
from hyperseg_serving.service.responses import Response

TEXT = "the cup of coffee"
STATISTIC = re.compile(r'(?P<name>\w+)\{model="(?P<model>\w+)",.*\} (?P<value>\S+)')
STATISTICS = {
    "nv_inference_request_success": "requests",
    "nv_inference_queue_duration_us": "queue_us",
    "nv_inference_compute_infer_duration_us": "compute_us",
}
"""Of the metrics page, and what they are called here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--rounds", type=positive, default=15)
    parser.add_argument("--requests", type=positive, default=1000, help="How many the memory is watched over.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="Print the stored results as a table and stop.")
    options = parser.parse_args()
    if options.table:
        print(markdown(), load_markdown(), sep="\n\n")
        return
    if options.bundle is None:
        parser.error("BUNDLE is missing")
    with trial_server(options.bundle, options.threads, shared_memory=True) as server:
        content = {
            "environment": measure.environment(),
            "bundle_mb": round(sum(f.stat().st_size for f in options.bundle.rglob("*") if f.is_file()) / 1e6, 1),
            "model": public_model(server),
            "threads": options.threads,
            "overhead": overhead(server, options.bundle, options),
            "load": load(server),
            "memory": memory(server, options.requests),
            "hops": hops(public_model(server)),
        }
    print(measure.write_results("serving", content))


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


def public_model(server: Server) -> str:
    """Its name, which is that of the family."""
    family = family_in(server.settings.repository)
    assert family is not None  # the server runs
    return ModelNames(family).public


def pictures(count: int, first: int) -> list[bytes]:
    """JPEG files of one photograph, each shifted by another number of columns."""
    pixels = np.asarray(Image.open(sample_images()[1]).convert("RGB"))
    files = []
    for shift in range(first, first + count):
        file = io.BytesIO()
        Image.fromarray(np.roll(pixels, shift, axis=1)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def overhead(server: Server, bundle: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every way in turn with the work in process; medians of the differences of neighbouring calls."""
    rows = []
    address = server.address
    shared = address.grpc_url.replace("grpc", "grpc+shm", 1)
    ensemble = GrpcTransport(address.grpc_url)
    with (
        Pipeline.load(bundle, threads=options.threads) as pipeline,
        Client(address.grpc_url) as grpc,
        Client(address.http_url) as http,
        Client(shared) as shm,
    ):
        names = ModelNames(grpc.family)
        ways: dict[str, Callable[[bytes], Response]] = {
            "gRPC": lambda data: last_of(grpc, data),
            "gRPC, image in shared memory": lambda data: last_of(shm, data),
            "HTTP": lambda data: last_of(http, data),
        }
        if names.ensemble:
            ways["gRPC, ensemble"] = lambda data: ensemble.infer(str(names.ensemble), Request(data, (TEXT,)), READY_S)
        for index, (way, call) in enumerate(ways.items()):
            for seen in (False, True):
                files = pictures(options.rounds + 1, 50 * index)
                files = [files[0]] * len(files) if seen else files
                rows.append({"way": way, "image": "seen" if seen else "new", **compared(pipeline, call, files)})
                print(rows[-1])
    ensemble.close()
    return rows


def last_of(client: Client, data: bytes) -> Response:
    *_, last = client.respond(Request(data, (TEXT,)))
    return last


def compared(pipeline: Pipeline, call: Callable[[bytes], Response], files: list[bytes]) -> dict[str, Any]:
    """The first file only warms up. Of a round trip, the public model says how much was its own work."""
    inside, outside, beside = [], [], []
    for number, data in enumerate(files):
        start = perf_counter()
        pipeline(open_image(data, Limits()), TEXT).to_json()
        middle = perf_counter()
        result = call(data).result or {}
        if number:
            inside.append((middle - start) * 1000)
            outside.append((perf_counter() - middle) * 1000)
            beside.append(outside[-1] - result.get("total_ms", math.nan))
    return {
        "in_process_ms": round(statistics.median(inside), 2),
        "round_trip_ms": round(statistics.median(outside), 2),
        "overhead_ms": round(statistics.median(b - a for a, b in zip(inside, outside, strict=True)), 2),
        "beside_the_model_ms": None if math.isnan(beside[0]) else round(statistics.median(beside), 2),
        "samples_ms": [[round(a, 3), round(b, 3)] for a, b in zip(inside, outside, strict=True)],
    }


def load(server: Server) -> list[dict[str, Any]]:
    (data,) = pictures(1, 0)
    rows = []
    with Client(server.address.grpc_url) as client:

        def ask(number: int) -> object:
            return client.segment(data, [f"thing {number}"])

        for callers in (1, 2, 4, 8):
            run = partial(closed_loop, ask, callers, 25 * callers)
            rows.append(watched(server, f"{callers} in a closed loop", run))
        rate = round(rows[-1]["per_second"] / 2, 3)
        if rate > 0:
            rows.append(watched(server, f"{rate} requests a second", partial(fixed_rate, ask, rate, 100)))
    return rows


def watched(server: Server, name: str, run: Callable[[], Load]) -> dict[str, Any]:
    """A load, and what the server says it did meanwhile."""
    models, stages = statistics_of(server), stages_of(server)
    found = run()
    delta = {stage: total - stages.get(stage, 0.0) for stage, total in stages_of(server).items()}
    row = {
        "load": name,
        **found.summary(),
        "models": spent(models, statistics_of(server)),
        "stages_ms": {stage: round(ms / max(1, len(found.samples_ms)), 3) for stage, ms in delta.items()},
    }
    print(row)
    return row


def statistics_of(server: Server) -> dict[str, dict[str, int]]:
    """Successful requests and microseconds so far, by model."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for line in page_of(server):
        shown = STATISTIC.match(line)
        if shown and shown["name"] in STATISTICS:
            found[shown["model"]][STATISTICS[shown["name"]]] = int(float(shown["value"]))
    return found


def page_of(server: Server) -> list[str]:
    with urllib.request.urlopen(server.address.metrics_url) as page:
        return list(page.read().decode().splitlines())


def stages_of(server: Server) -> dict[str, float]:
    """Milliseconds that the public model has spent in each stage so far, from the metrics page."""
    found = (line.split() for line in page_of(server) if line.startswith(STAGE_MS + "{"))
    return {label.split('"')[1]: float(value) for label, value in found}


def spent(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    """Mean milliseconds per request in queue and model between two looks; models that did nothing are left out."""
    found = {}
    for name, now in after.items():
        count = now["requests"] - before[name]["requests"]
        if count:
            found[name] = {
                "requests": count,
                "queue_ms": round((now["queue_us"] - before[name]["queue_us"]) / count / 1e3, 3),
                "compute_ms": round((now["compute_us"] - before[name]["compute_us"]) / count / 1e3, 3),
            }
    return found


def memory(server: Server, requests: int) -> dict[str, Any]:
    """Images never seen, so that the image cache fills, and eight callers."""
    public = public_model(server)
    (model,) = (p for p in psutil.Process(server.pid).children(recursive=True) if f"{public}_0_0" in p.cmdline())
    files = pictures(40, 200)
    samples = []
    with Client(server.address.grpc_url) as client:
        for _ in range(10):
            found = closed_loop(
                lambda number: client.segment(files[number % len(files)], [TEXT, f"thing {number}"]),
                8,
                max(1, requests // 10),
            )
            rss = model.memory_info().rss
            samples.append({"requests": len(found.samples_ms), "errors": len(found.errors), "rss_mb": round(rss / 1e6)})
            print(samples[-1])
    server_mb = round(psutil.Process(server.pid).memory_info().rss / 1e6)
    return {"model_process": samples, "server_mb": server_mb}


def hops(family: str) -> list[dict[str, Any]]:
    """Bytes that cross for one new image at the published sizes, batch 1."""
    repository: RepositorySpec = published_spec(family)
    last_step = {tensor.name for tensor in repository.stage_outputs()}
    rows = []
    for spec in repository.stages:
        into, out = (sum(size_of(tensor) for tensor in side) for side in (spec.inputs, spec.outputs))
        kept = sum(size_of(tensor) for tensor in spec.outputs if tensor.name in last_step)
        rows.append({"graph": spec.name, "in_mb": into / 1e6, "out_mb": out / 1e6, "to_last_step_mb": kept / 1e6})
    return rows


def size_of(tensor: TensorSpec) -> int:
    return tensor.dtype.itemsize * int(np.prod([axis for axis in tensor.axes if isinstance(axis, int)]))


def markdown() -> str:
    """What the README shows."""
    content = json.loads((measure.RESULTS / "serving.json").read_text())
    head = ("way", "image", "in process ms", "round trip ms", "overhead ms", "beside the model ms")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in content["overhead"]:
        beside = row["beside_the_model_ms"]
        lines.append(
            f"| {row['way']} | {row['image']} | {row['in_process_ms']:.1f} | {row['round_trip_ms']:.1f} | "
            f"{row['overhead_ms']:.1f} | {'' if beside is None else f'{beside:.1f}'} |"
        )
    return "\n".join(lines)


def load_markdown() -> str:
    """Closed loops and the fixed rate."""
    content = json.loads((measure.RESULTS / "serving.json").read_text())
    public = content["model"]
    head = ("load", "requests", "errors", "per second", "p50 ms", "p90 ms", "p99 ms", "queue ms", "stages ms")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in content["load"]:
        queue_ms, stages_ms = row["models"].get(public, {}).get("queue_ms", 0.0), sum(row["stages_ms"].values())
        measured = [row[key] for key in ("requests", "errors", "per_second", "p50_ms", "p90_ms", "p99_ms")]
        lines.append(f"| {' | '.join(map(str, [row['load'], *measured, f'{queue_ms:.1f}', f'{stages_ms:.1f}']))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
