"""Do torch modules, ONNX Runtime and a Triton server give the same masks? Every expression of the held-out scenes.

    python benchmarks/quality/agreement.py BUNDLE CHECKPOINT FOLDER          # 500 scenes, a few minutes
    python benchmarks/quality/agreement.py BUNDLE CHECKPOINT FOLDER --keep   # and make it what the README shows

A line is added to a file in FOLDER for every scene, so a run that was killed goes on where it stopped. Modules are
those that CHECKPOINT defines, driven by the runtime's own code; the server runs the same BUNDLE. Ends with 5 where
the server's masks differ from those of ONNX Runtime in this process by a single pixel.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.progress import track

from hyperseg_bench import measure
from hyperseg_bench.quality.datasets.shapes.asked import EXPRESSIONS, asking
from hyperseg_bench.quality.datasets.shapes.expressions import choose_expressions
from hyperseg_bench.quality.datasets.shapes.scene import make_scene
from hyperseg_export.families.hyperseg.training.scenes import photographs
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity.bundle import module_of
from hyperseg_export.parity.module_graph import ModuleGraph
from hyperseg_runtime import console
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.manifest import FILE_NAME
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Instances, Result
from hyperseg_runtime.errors import ParityError
from hyperseg_runtime.session.pipeline import Pipeline, family_of
from hyperseg_serving.client.client import Client
from hyperseg_serving.server.trial import trial_server

HELD_OUT = 500
KEPT = "agreement"
MODULES, SERVER = "modules", "server"
RIVALS = {MODULES: "torch modules", SERVER: "Triton server"}
"""Compared with ONNX Runtime in this process."""

Answerer = Callable[[np.ndarray, Sequence[str]], Sequence[Result]]
"""An image (H, W, 3) uint8 and texts -> a result for each text."""
Row = dict[str, Any]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def compare(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Made from CHECKPOINT, in float32.")],
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Where the modules' weights are.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the scenes done so far are kept.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many, from the first one on.")] = HELD_OUT,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of one graph.")] = 1,
    load: Annotated[str, typer.Option(help="What else the machine did; goes into the file.")] = "nothing else ran",
    keep: Annotated[bool, typer.Option("--keep", help="Store the result for the README.")] = False,
) -> None:
    """Compare masks, scene by scene."""
    folder.mkdir(parents=True, exist_ok=True)
    path = kept_in(folder, bundle)
    done = rows_in(path)
    missing = [seed for seed in range(scenes) if seed not in done]
    if missing:
        with path.open("a") as file, answerers(bundle, checkpoint, threads) as (reference, rivals):
            for seed in track(missing, "scenes", console=console.err):
                done[seed] = compare_scene(seed, reference, rivals)
                file.write(json.dumps(done[seed]) + "\n")
                file.flush()
    found = summary([done[seed] for seed in range(scenes)])
    console.print_json(found)
    if keep:
        conditions = {"threads": threads, "load": load, "server": "Triton Inference Server 24.10, profile cpu, gRPC"}
        origin = Bundle.read(bundle).manifest.provenance
        content = {"environment": measure.environment(), "conditions": conditions, **found}
        measure.write_results(KEPT, {"checkpoint_sha256": origin.checkpoint_sha256, **content})
    if found["rivals"][SERVER]["pixels"]:
        raise ParityError(f"{found['rivals'][SERVER]['pixels']} pixels differ between the server and this process")


def kept_in(folder: Path, bundle: Path) -> Path:
    """The file of what is done; another export's is another one."""
    identity = hashlib.sha256((bundle / FILE_NAME).read_bytes()).hexdigest()[:12]
    return folder / f"{KEPT}-{identity}.jsonl"


def rows_in(path: Path) -> dict[int, Row]:
    """Seed -> row of what is done; half a line, which a killed run leaves, is cut off."""
    text = path.read_text() if path.exists() else ""
    whole = text.rpartition("\n")[0]
    if path.exists():
        os.truncate(path, len(whole) + 1 if whole else 0)
    return {row["seed"]: row for row in map(json.loads, whole.splitlines())}


@contextmanager
def answerers(bundle: Path, checkpoint: Path, threads: int) -> Iterator[tuple[Answerer, dict[str, Answerer]]]:
    """ONNX Runtime in this process, and those that it is compared with."""
    torch.set_num_threads(threads)
    with ExitStack() as opened:
        server = opened.enter_context(trial_server(bundle, threads))
        client = opened.enter_context(Client(server.address.grpc_url))
        pipeline = opened.enter_context(Pipeline.load(bundle, threads=threads))
        backend = opened.enter_context(OnnxRuntimeBackend(threads))
        yield piped(pipeline), {MODULES: by_modules(pipeline.bundle, checkpoint, backend), SERVER: client.segment}


def piped(pipeline: Pipeline) -> Answerer:
    def answer(image: np.ndarray, texts: Sequence[str]) -> Sequence[Result]:
        with pipeline.open(image, keep=False) as session:
            return session.segment_many(texts)

    return answer


def by_modules(bundle: Bundle, checkpoint: Path, backend: OnnxRuntimeBackend) -> Answerer:
    """The float32 modules in place of the bundle's graphs."""
    source, family = open_checkpoint(checkpoint).model, family_of(bundle)
    graphs = {spec.name: ModuleGraph(spec, module_of(source, spec.name), backend) for spec in source.specs}
    model = family.open_model(bundle, graphs, backend)

    def answer(image: np.ndarray, texts: Sequence[str]) -> Sequence[Result]:
        found: Sequence[Result] = model.segment(model.open(image), family.with_task(Expressions.of(texts)))
        return found

    return answer


def compare_scene(seed: int, reference: Answerer, rivals: dict[str, Answerer]) -> Row:
    """What the evaluation asks about the scene of a seed: masks that a rival has otherwise, how far scores differ."""
    scene = make_scene(seed, photographs())
    texts = [said.text for said in choose_expressions(scene.things, EXPRESSIONS, asking(seed))]
    expected = [instances(result) for result in reference(scene.image, texts)]
    differing, scores = {}, {}
    for name, answer in rivals.items():
        pairs = list(zip(map(instances, answer(scene.image, texts)), expected, strict=True))
        counts = [int(np.count_nonzero(found.mask ^ wanted.mask)) for found, wanted in pairs]
        differing[name] = {text: count for text, count in zip(texts, counts, strict=True) if count}
        scores[name] = max(abs(found.score - wanted.score) for found, wanted in pairs)
    pixels = len(texts) * scene.labels.size
    return {"seed": seed, "masks": len(texts), "pixels": pixels, "differing": differing, "scores": scores}


def instances(result: Result) -> Instances:
    assert isinstance(result, Instances)  # that is what expressions give
    return result


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts over all scenes; `largest` is of the mask that differs most, `scores` the largest difference of a score:
    0 of masks whose scores differ says that the rivals are no copies of each other.
    """
    rivals = {}
    for name in RIVALS:
        counts = [count for row in rows for count in row["differing"][name].values()]
        worst = max(row["scores"][name] for row in rows)
        rivals[name] = {"masks": len(counts), "pixels": sum(counts), "largest": max(counts, default=0), "scores": worst}
    totals = {key: sum(row[key] for row in rows) for key in ("masks", "pixels")}
    return {"scenes": len(rows), **totals, "rivals": rivals}


def markdown() -> str:
    """The stored result as the row of the README."""
    content = json.loads((measure.RESULTS / f"{KEPT}.json").read_text())
    parts = [
        f"{title} {found['pixels']:,} pixels in {found['masks']} masks (scores {found['scores']:.0e} at most)"
        for title, found in ((title, content["rivals"][name]) for name, title in RIVALS.items())
    ]
    return (
        f"| torch modules, ONNX Runtime and Triton give the same masks | **measured** on {content['scenes']} held-out "
        f"scenes of the trained tiny model | {content['masks']:,} masks, {content['pixels'] / 1e6:.1f} million pixels; "
        f"from ONNX Runtime in process differ: {', '.join(parts)} |"
    )


if __name__ == "__main__":
    console.run_app(app)
