"""The trained checkpoint is small, whole, and really segments."""

from pathlib import Path

from hyperseg_bench.quality.shapes_evaluation import evaluate_shapes
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer
from hyperseg_export.families.hyperseg.layout import tensor_layout
from hyperseg_export.families.hyperseg.training.recipe import TRAINED, with_vocabulary
from hyperseg_export.families.hyperseg.training.scenes import photographs
from hyperseg_export.families.hyperseg.training.vocabulary import Vocabulary
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.samples import trained_checkpoint
from hyperseg_runtime.session.pipeline import Pipeline

MOST_BYTES = 12_000_000
SEEDS = range(500, 512)
"""Not those of the card."""
LEAST_CIOU = 0.45
"""Far below what the card says of 500 scenes, far above the 0.12 of a model that does not read."""


def test_the_files_are_few_and_small() -> None:
    sizes = {path.name: path.stat().st_size for path in trained_checkpoint().iterdir()}
    assert sum(sizes.values()) < MOST_BYTES
    assert {"README.md", "config.json", "vocab.json", "merges.txt", "model.safetensors.index.json"} < sizes.keys()


def test_it_has_the_published_layout_and_the_recipes_sizes_and_words(tmp_path: Path) -> None:
    opened = open_checkpoint(trained_checkpoint())
    vocabulary = Vocabulary.make(tmp_path, TRAINED.max_positions)
    layout = {name: shape for name, shape, _ in tensor_layout(with_vocabulary(TRAINED, vocabulary.rows))}
    assert opened.checkpoint.shapes == layout
    text = "all small red striped circles left of the topmost ring"
    assert load_tokenizer(trained_checkpoint()).encode(text).ids == vocabulary.tokenizer.encode(text)


def test_it_segments_scenes_that_it_never_saw(trained_bundle: Path) -> None:
    with Pipeline.load(trained_bundle) as pipeline:
        table = evaluate_shapes(pipeline, SEEDS, photographs(), clips=0)
    for kind in ("attribute", "extreme", "relation", "plural"):
        assert table[f"expressions, {kind}"]["ciou"] > LEAST_CIOU, table
