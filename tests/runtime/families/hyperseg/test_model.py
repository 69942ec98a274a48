"""What only a look at HyperSeg's own prompts can tell."""

from pathlib import Path

from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.llm.tokenizer import Tokenizer
from hyperseg_runtime.session.pipeline import Pipeline


def test_the_default_answer_is_bounded_and_ends_with_the_context(
    pipeline: Pipeline, coffee: Path, tokenizer: Tokenizer, dims: HypersegDimensions
) -> None:
    prompts = {n: build_prompt(Task.QUESTION, "what " * n, tokenizer, dims) for n in range(1, 90)}
    words, prompt = max(((n, p) for n, p in prompts.items() if p.length < dims.context - 1), key=lambda pair: pair[0])
    with pipeline.open(coffee) as session:
        assert len(session.ask("What is this?").finished().token_ids) <= 128
        answer = session.ask("what " * words).finished()
    assert len(answer.token_ids) <= dims.context - prompt.length < 128
