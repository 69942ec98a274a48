"""What the README shows is what `make demo` does, and what it asks follows the rule."""

import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path

import demo
import numpy as np
import pytest
from PIL import Image

from hyperseg_bench import measure
from hyperseg_bench.quality.datasets.shapes.asked import EXPRESSIONS, asking
from hyperseg_bench.quality.datasets.shapes.expressions import Expression, choose_expressions
from hyperseg_bench.quality.datasets.shapes.scene import make_scene
from hyperseg_export.families.hyperseg.training.scenes import photographs
from hyperseg_export.samples import trained_checkpoint
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError
from support import RunCli

ROOT = Path(__file__).parents[3]
MAKEFILE = (ROOT / "Makefile").read_text()
AGAIN = "run: make demo, then benchmarks/quality/demo.py score build/demo --keep, and put its lines into README.md"
ELSEWHERE = 0.02
"""By how much an IoU may differ on another processor: a few pixels of an outline."""


def commands() -> list[list[str]]:
    """What the recipe of `make demo` does with the project's command, DEMO standing for its folder."""
    recipe = re.search(r"^demo: setup\n((?:\t.*\n)+)", MAKEFILE, re.M)
    trained = re.search(r"^TRAINED := (.*)$", MAKEFILE, re.M)
    assert recipe and trained
    lines = recipe[1].replace("\\\n", " ").replace("$(DEMO)", "DEMO").replace("$(TRAINED)", trained[1]).splitlines()
    called = [shlex.split(line) for line in lines if "$(BIN)/hyperseg-trt" in line]
    return [words[1:] for words in called]


def asked() -> dict[str, list[str]]:
    """Picture -> texts."""
    runs = [words for words in commands() if words[0] == "run"]
    return {Path(words[2]).name: words[3 : words.index("--out")] for words in runs}


def test_the_pictures_are_the_first_scenes_and_the_texts_the_first_with_different_targets() -> None:
    first = next(seed for seed in range(500) if make_scene(seed, photographs()).background == "photograph")
    assert list(demo.PICTURES.values()) == [0, first]
    for picture, texts in asked().items():
        scene = demo.scene_of(picture)
        said = choose_expressions(scene.things, EXPRESSIONS, asking(scene.seed))
        different: dict[tuple[int, ...], Expression] = {}
        for expression in said:
            different.setdefault(expression.targets, expression)
        assert texts == [expression.text for expression in different.values()][: len(texts)]


def test_the_readme_shows_what_was_kept() -> None:
    content = json.loads((measure.RESULTS / "demo.json").read_text())
    assert demo.markdown() in (ROOT / "README.md").read_text(encoding="utf-8"), AGAIN
    assert [row["asked"] for row in content["rows"]] == [text for texts in asked().values() for text in texts]
    for row in content["rows"]:
        assert hashlib.sha256((measure.RESULTS / row["shown"]).read_bytes()).hexdigest() == row["shown_sha256"]


def test_the_demo_finds_what_was_kept(run_cli: RunCli, tmp_path: Path, trained_bundle: Path) -> None:
    """The commands of `make demo` but the export, which the fixture made of the same checkpoint."""
    content = json.loads((measure.RESULTS / "demo.json").read_text())
    assert Bundle.read(trained_bundle).manifest.provenance.checkpoint_sha256 == content["checkpoint_sha256"], AGAIN
    assert (ROOT / commands()[0][1]).samefile(trained_checkpoint())
    shutil.copytree(trained_bundle, tmp_path / "bundle")
    demo.draw(tmp_path)
    for words in commands()[1:]:
        result = run_cli(*(word.replace("DEMO", str(tmp_path)) for word in words))
        assert result.code == 0, result.err
    demo.score(tmp_path)
    for row, one in zip(content["rows"], demo.results(tmp_path / demo.RESULT), strict=True):
        assert (row["picture"], row["asked"]) == (one.picture, one.said.text)
        assert abs(row["iou"] - one.iou) < ELSEWHERE and row["iou"] > 0.5, row
        shown, kept = (np.asarray(Image.open(folder / row["shown"]), float) for folder in (tmp_path, measure.RESULTS))
        assert np.abs(shown - kept).mean() < 1, row


def test_a_wrong_mask_scores_nothing_and_a_vague_text_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = demo.scene_of("scene.png")
    asked_and_found = {
        "the leftmost plain object": scene.mask([0]),
        "the square": scene.labels == 0,
        "the plain object": scene.mask([0]),
    }
    for number, (text, mask) in enumerate(asked_and_found.items(), 1):
        result = Instances(asked=(text,), task="any", masks=mask[None], scores=np.ones(1, np.float32), labels=(text,))
        (tmp_path / f"scene.png.result-{number}.json").write_text(json.dumps(result.to_json()))
    assert [(one.said.text, one.iou) for one in demo.results(tmp_path)] == [
        ("the leftmost plain object", 1),
        ("the square", 0),
    ]
    assert "result-3.json: not scored, 'the plain object' names no one thing in scene.png" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"nothing to score about .*; run: make demo"):
        demo.results(tmp_path / "empty")
