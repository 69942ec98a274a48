"""The pictures of `make demo`, and how right the masks are that `hyperseg-trt run` found in them.

    python benchmarks/quality/demo.py draw FOLDER          # scene.png and photograph.png
    python benchmarks/quality/demo.py score FOLDER         # what lies in FOLDER/result, against the truth
    python benchmarks/quality/demo.py score FOLDER --keep  # and make it what the README shows

Which pictures, and what is asked, follows a rule and not the results: of the held-out scenes the first one, and the
first one whose background is a photograph; of the expressions that the evaluation asks about each, the first ones with
different targets.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from pycocotools import mask as coco_mask

from hyperseg_bench import measure
from hyperseg_bench.quality.datasets.shapes.expressions import Expression, all_expressions
from hyperseg_bench.quality.datasets.shapes.scene import SIDE_PX, Scene, make_scene
from hyperseg_bench.quality.metrics.iou import IouSums
from hyperseg_export.families.hyperseg.training.scenes import photographs
from hyperseg_runtime import console
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.results import Kind, result_name
from hyperseg_runtime.reports.overlay import draw_spotlight

PICTURES = {"scene.png": 0, "photograph.png": 3}
"""File -> seed of its scene."""
DRAWN_PX = 3 * SIDE_PX
"""Larger than the model sees it, for people; the truth is as large."""
BUNDLE, RESULT = "bundle", "result"
SHOWN = "demo-{number}.jpg"
KEPT = "demo"
JPEG_QUALITY = 88

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the demo.")]


@dataclass(frozen=True)
class Scored:
    """One mask (H, W) bool in its picture, what was asked for it, and how right it is."""

    picture: str
    scene: Scene
    said: Expression
    mask: np.ndarray
    score: float

    @property
    def iou(self) -> float:
        return IouSums().add(self.mask, self.scene.mask(self.said.targets))

    def shown(self) -> Image.Image:
        return Image.fromarray(draw_spotlight(self.scene.image, self.mask))


@app.command()
def draw(folder: FolderArgument) -> None:
    """Draw the pictures into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        Image.fromarray(scene_of(name).image).save(folder / name)
        console.out.print(f"drawn {folder / name}", markup=False)


@app.command()
def score(
    folder: FolderArgument,
    keep: Annotated[bool, typer.Option("--keep", help="Store pictures and numbers for the README.")] = False,
) -> None:
    """Compare every result in FOLDER/result with the truth."""
    found = results(folder / RESULT)
    rows = [(one.picture, one.said.text, one.said.kind, f"{one.iou:.3f}", f"{one.score:.3f}") for one in found]
    console.print_rows("Masks against the truth", ("picture", "asked", "kind", ">IoU", ">score"), rows)
    for number, one in enumerate(found, 1):
        path = folder / SHOWN.format(number=number)
        one.shown().save(path, quality=JPEG_QUALITY)
        console.out.print(f"shown   {path}", markup=False)
    for report in sorted((folder / RESULT).glob("*.html")):
        console.out.print(f"report  {report}", markup=False)
    if keep:
        console.out.print(f"kept    {keep_results(folder, found)}; the README's lines:\n{markdown()}", markup=False)


def scene_of(picture: str) -> Scene:
    return make_scene(PICTURES[picture], photographs(), DRAWN_PX)


def results(folder: Path) -> list[Scored]:
    """Every result about one of the pictures, in the order of the files. Raises InputError where there is none.

    One that was asked what has not one answer in its picture cannot be scored: a line says so.
    """
    found = []
    for picture in PICTURES:
        scene = scene_of(picture)
        known = {said.text: said for kind in all_expressions(scene.things).values() for said in kind}
        for path in sorted(folder.glob(result_name(picture, Kind.RESULT).replace(".json", "*.json"))):
            content = json.loads(path.read_bytes())
            (text,), best = content["asked"], content["instances"][0]
            if text in known:
                mask = coco_mask.decode(best["segmentation"]).astype(np.bool_)
                found.append(Scored(picture, scene, known[text], mask, best["score"]))
            else:
                console.err.print(f"{path}: not scored, {text!r} names no one thing in {picture}", markup=False)
    if not found:
        raise InputError(f"{folder}: nothing to score about {' or '.join(PICTURES)}; run: make demo")
    return found


def keep_results(folder: Path, found: list[Scored]) -> Path:
    """Copy pictures and numbers to where the README takes them from."""
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(found, 1):
        name = SHOWN.format(number=number)
        picture = (folder / name).read_bytes()
        (measure.RESULTS / name).write_bytes(picture)
        rows.append({
            "picture": one.picture, "seed": one.scene.seed, "background": one.scene.background, "asked": one.said.text,
            "kind": one.said.kind, "score": one.score, "iou": round(one.iou, 6), "shown": name,
            "shown_sha256": hashlib.sha256(picture).hexdigest(),
        })  # fmt: skip
    origin = Bundle.read(folder / BUNDLE).manifest.provenance
    content = {"environment": measure.environment(), "checkpoint_sha256": origin.checkpoint_sha256, "rows": rows}
    return measure.write_results(KEPT, content)


def markdown() -> str:
    """The stored results as the pictures and numbers of the README."""
    rows = json.loads((measure.RESULTS / f"{KEPT}.json").read_text())["rows"]
    lines = (
        [f'"{row["asked"]}"' for row in rows],
        ["---"] * len(rows),
        [f"![{row['asked']}, as the model found it](benchmarks/results/{row['shown']})" for row in rows],
        [f"IoU {row['iou']:.2f}" for row in rows],
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    console.run_app(app)
