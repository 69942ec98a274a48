"""How well a bundle does on made scenes: cIoU of expressions, accuracy of answers, J&F of clips, each by kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hyperseg_bench.quality.datasets.shapes.clips import clip_expressions, make_clip
from hyperseg_bench.quality.datasets.shapes.expressions import choose_expressions
from hyperseg_bench.quality.datasets.shapes.questions import ANSWERS, QuestionMaker
from hyperseg_bench.quality.datasets.shapes.scene import make_scene
from hyperseg_bench.quality.metrics.answers import exact_match
from hyperseg_bench.quality.metrics.iou import IouSums
from hyperseg_bench.quality.metrics.video import ClipScores, clip_scores
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.session.pipeline import Pipeline

EVALUATION_ENTROPY = 0xE7A1
EXPRESSIONS = 8
"""Of each scene: two of every kind where there are as many."""
CLIP_EXPRESSIONS = 3
ANSWER_TOKENS = 3
"""The longest answer takes one; more shows whether the model stops."""


def asking(seed: int) -> np.random.Generator:
    """Chooses what is asked about the scene, or the clip, of a seed: expressions first, then questions."""
    return np.random.default_rng((EVALUATION_ENTROPY, seed))


@dataclass
class ShapesScores:
    """Results so far."""

    expressions: dict[str, IouSums] = field(default_factory=dict)
    answers: dict[str, list[bool]] = field(default_factory=dict)
    clips: list[ClipScores] = field(default_factory=list)

    def table(self) -> dict[str, dict[str, float]]:
        """Kind -> numbers; chance of a kind of question is one over the number of its answers."""
        rows: dict[str, dict[str, float]] = {}
        for kind, sums in sorted(self.expressions.items()):
            rows[f"expressions, {kind}"] = {"ciou": sums.ciou, "miou": sums.miou, "count": sums.pairs}
        for kind, right in sorted(self.answers.items()):
            rows[f"questions, {kind}"] = {
                "accuracy": float(np.mean(right)), "chance": 1 / len(ANSWERS[kind]), "count": len(right),
            }  # fmt: skip
        if self.answers:
            everything = [right for kind in self.answers.values() for right in kind]
            chance = float(np.mean([1 / len(ANSWERS[kind]) for kind, right in self.answers.items() for _ in right]))
            rows["questions, all"] = {
                "accuracy": float(np.mean(everything)), "chance": chance, "count": len(everything),
            }  # fmt: skip
        if self.clips:
            j, f = (float(np.mean([getattr(clip, name) for clip in self.clips])) for name in ("j", "f"))
            rows["clips"] = {"j": j, "f": f, "j_and_f": (j + f) / 2, "count": len(self.clips)}
        return rows


def evaluate_shapes(
    pipeline: Pipeline,
    seeds: Sequence[int],
    photographs: Sequence[np.ndarray] = (),
    clips: int = 0,
    tell: Callable[[int], None] = lambda done: None,
) -> ShapesScores:
    """Ask about the scenes of `seeds`, and about the clips of the first `clips` seeds.

    The questions form a balanced set: within a kind every answer is right about equally often.
    """
    scores, maker = ShapesScores(), QuestionMaker()
    for done, seed in enumerate(seeds, 1):
        scene = make_scene(seed, photographs)
        generator = asking(seed)
        expressions = choose_expressions(scene.things, EXPRESSIONS, generator)
        questions = maker.choose(scene.things, generator)
        with pipeline.open(scene.image) as session:
            results = session.segment_many([expression.text for expression in expressions])
            for expression, result in zip(expressions, results, strict=True):
                sums = scores.expressions.setdefault(expression.kind, IouSums())
                sums.add(result.mask, scene.mask(expression.targets))
            for question in questions:
                answer = session.ask(question.text, max_tokens=ANSWER_TOKENS).finished().text
                scores.answers.setdefault(question.kind, []).append(exact_match(answer, question.answer))
        tell(done)
    for seed in seeds[:clips]:
        scores.clips += clip_results(pipeline, seed, photographs)
    return scores


def clip_results(pipeline: Pipeline, seed: int, photographs: Sequence[np.ndarray]) -> list[ClipScores]:
    """One score for every expression about the clip of a seed."""
    clip = make_clip(seed, photographs)
    expressions = clip_expressions(clip, CLIP_EXPRESSIONS, asking(seed))
    if not expressions:
        return []
    video = pipeline.open_video()
    texts = [expression.text for expression in expressions]
    ready = [found for frame in clip.frames for found in video.push(frame, texts)] + video.finish()
    frames = [[result.mask for result in found.results if isinstance(result, Instances)] for found in ready]
    return [
        clip_scores(np.stack(masks), clip.masks(e.targets))
        for e, masks in zip(expressions, zip(*frames, strict=True), strict=True)
    ]
