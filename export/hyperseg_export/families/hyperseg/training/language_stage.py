"""Second stage: the language model learns to say what the oracle said, and to answer questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from hyperseg_bench.quality.datasets.shapes.expressions import Expression
from hyperseg_bench.quality.datasets.shapes.questions import Question
from hyperseg_export.families.hyperseg.training.auxiliary import OUTPUTS, Auxiliaries
from hyperseg_export.families.hyperseg.training.losses import head_loss
from hyperseg_export.families.hyperseg.training.network import Network, Vision
from hyperseg_export.families.hyperseg.training.reading import (
    Reading,
    answered_prompt,
    expression_prompts,
    read_together,
)
from hyperseg_export.families.hyperseg.training.targets import IGNORED, Targets
from hyperseg_runtime.families.hyperseg.prompts import Task
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.llm.prompt import SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

TASKS = {Task.REFERRING: 0.6, Task.REASONING: 0.15, Task.VIDEO: 0.25}
"""How often each prompt is used."""
BARE = 0.15
"""How often "the" is left out, as users do."""


@dataclass(frozen=True)
class Asked:
    """Expressions about B images: chosen (B, K, 6) float says which things each means."""

    reading: Reading
    chosen: Tensor


def ask_expressions(
    expressions: Sequence[Sequence[Expression]], count: int, tokenizer: Tokenizer, dims: HypersegDimensions,
    things: int, generator: np.random.Generator,
) -> Asked:  # fmt: skip
    """`count` expressions of each image, drawn."""
    chosen = torch.zeros(len(expressions), count, things)
    prompts = []
    for row, options in enumerate(expressions):
        drawn = generator.choice(len(options), count, replace=len(options) < count)
        task = list(TASKS)[generator.choice(len(TASKS), p=list(TASKS.values()))]
        texts = []
        for index, option in enumerate(drawn):
            chosen[row, index, list(options[option].targets)] = 1
            text = options[option].text
            texts.append(text.removeprefix("the ") if generator.random() < BARE else text)
        prompts.append(expression_prompts(texts, task, tokenizer, dims))
    return Asked(read_together(prompts, dims), chosen)


def code_losses(
    network: Network, auxiliaries: Auxiliaries, vision: Vision, targets: Targets, asked: Asked
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    """How far the language model is from the oracle; and its hidden states, queries (B, K, Q, D), conditions (B, K, D).

    Both tell what the expression means in two ways: as the oracle's code, and through heads.
    """
    hidden = asked.reading.hidden_states(network, vision)
    rows = asked.reading.rows(SlotKind.MASK_QUERIES)  # (B, K, Q)
    batch = torch.arange(len(rows))[:, None, None]
    queries = hidden[batch, rows]
    conditions = asked.reading.condition_weights() @ hidden
    memory = network.memory(hidden[batch[:, 0], asked.reading.perceiver_rows()])
    classes, codes = meant(auxiliaries, targets, asked.chosen)
    wanted = codes.unsqueeze(2) + auxiliaries.query_offsets.detach()
    told = auxiliaries.heads["queries"](queries).flatten(0, 2)
    first = auxiliaries.heads["conditions"](conditions).flatten(0, 1)
    losses = {
        "query_code": mse_loss(queries, wanted),
        "condition_code": mse_loss(conditions, codes),
        "query_head": head_loss(told, classes.unsqueeze(2).expand(*rows.shape, -1).flatten(0, 2)),
        "condition_head": head_loss(first, classes.flatten(0, 1)),
        "memory": mse_loss(memory, network.tensors["temporal_query"].detach().expand_as(memory)),
        "target right": places_right(told, classes, rows.shape[2]),
    }
    return losses, (queries, conditions)


def places_right(told: Tensor, classes: Tensor, queries: int) -> Tensor:
    """How often the first query's head tells column and row of a single target; no gradient."""
    with torch.no_grad():
        first = told.unflatten(0, (-1, queries))[:, 0, :-2].split(OUTPUTS, dim=1)[-2:]
        wanted = classes.flatten(0, 1)[:, -2:]
        right = torch.stack([part.argmax(1) == wanted[:, axis] for axis, part in enumerate(first)]).all(0)
        return right[(wanted != IGNORED).all(1)].float().mean()


def meant(auxiliaries: Auxiliaries, targets: Targets, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """What all things an expression means have in common: head classes (B, K, 6) and the oracle's codes (B, K, D)."""
    there = chosen.bool().unsqueeze(-1)  # (B, K, 6 things, 1)
    known = torch.cat((targets.attributes, targets.bins), dim=-1).unsqueeze(1)  # (B, 1, 6, 6 outputs)
    largest = torch.where(there, known, -1).amax(2)
    smallest = torch.where(there, known, 1 << 20).amin(2)
    classes = torch.where(largest == smallest, largest, IGNORED)
    single = chosen.sum(-1) == 1
    attributes = classes[..., :4].clamp(min=0)
    centres = (chosen.unsqueeze(-1) * targets.centres.unsqueeze(1)).sum(2) / chosen.sum(-1, keepdim=True)
    with torch.no_grad():
        flat = auxiliaries.oracle(attributes.flatten(0, 1), centres.flatten(0, 1), single.flatten().float())
    return classes, flat.unflatten(0, chosen.shape[:2])


def question_losses(
    network: Network, vision: Vision, questions: Sequence[Sequence[Question]], count: int, tokenizer: Tokenizer,
    generator: np.random.Generator,
) -> Mapping[str, Tensor]:  # fmt: skip
    """Cross-entropy of the answers to up to `count` questions about each image; how often the first token is right."""
    prompts, answers = [], []
    for options in questions:
        drawn = generator.permutation(len(options))[:count]
        pairs = [answered_prompt(options[i].text, options[i].answer, tokenizer, network.dims) for i in drawn]
        prompts.append([prompt for prompt, _ in pairs])
        answers.append([said for _, said in pairs])
    reading = read_together(prompts, network.dims)
    hidden = reading.hidden_states(network, vision)
    rows, ids, opening = [], [], []
    for row, (packed, said) in enumerate(zip(reading.packed, answers, strict=True)):
        for index, suffix in enumerate(packed.suffixes):
            end = packed.hidden_row(index) + suffix.prompt.length
            for offset, token_id in enumerate(said[index]):
                rows.append((row, end - len(said[index]) + offset))
                ids.append(token_id)
                opening.append(offset == 0)
    places, wanted = torch.tensor(rows), torch.tensor(ids)
    logits = network.token_logits(hidden[places[:, 0], places[:, 1]])
    right = (logits.argmax(1) == wanted)[torch.tensor(opening)].float().mean()
    return {"answers": cross_entropy(logits, wanted), "answers_right": right.detach()}
