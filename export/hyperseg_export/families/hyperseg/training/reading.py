"""Batches of packed prompts: what the language model reads, and where its hidden states are looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hyperseg_export.families.hyperseg.training.network import Network, Vision
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.families.mask_queries.prompts import continue_prompt
from hyperseg_runtime.llm.packing import PackedPrompts, pack
from hyperseg_runtime.llm.prompt import Prompt, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

UNLIMITED = 1 << 20
"""Cache slots while training: all prompts of an image are one call."""


@dataclass(frozen=True)
class Reading:
    """One call of the language model for B images.

    token_ids (B, T), -1 where a row is visual; visual (B, T), its row among image tokens, perceiver tokens and mask
    queries side by side; position_ids (B, T); attended (B, T, 2, 2), see `PackedPrompts.attended_slots`.
    """

    token_ids: Tensor
    visual: Tensor
    position_ids: Tensor
    attended: Tensor
    packed: list[PackedPrompts]

    def hidden_states(self, network: Network, vision: Vision) -> Tensor:
        """(B, T, D)"""
        batch, queries = len(self.token_ids), network.tensors["seg_query"]
        blocks = torch.cat((vision.image_tokens, vision.fvp_tokens, queries.expand(batch, -1, -1)), dim=1)
        seen = blocks.gather(1, self.visual.unsqueeze(-1).expand(-1, -1, blocks.shape[-1]))
        said = network.tensors["model.embed_tokens.weight"][self.token_ids.clamp(min=0)]
        embeds = torch.where((self.token_ids >= 0).unsqueeze(-1), said, seen)
        return network.read(embeds, self.position_ids, self.attended)

    def rows(self, kind: SlotKind) -> Tensor:
        """Rows of the hidden states that hold the `kind` slot of every prompt, (B, K, slot length) int64."""
        found = [
            [
                list(suffix.prompt.spans(kind, packed.hidden_row(index))[0])
                for index, suffix in enumerate(packed.suffixes)
            ]
            for packed in self.packed
        ]
        return torch.tensor(found)

    def condition_weights(self) -> Tensor:
        """Averages over each prompt's condition, (B, K, T) float32."""
        weights = torch.zeros(len(self.packed), len(self.packed[0].suffixes), self.token_ids.shape[1])
        for row, packed in enumerate(self.packed):
            for index, suffix in enumerate(packed.suffixes):
                (span,) = suffix.prompt.spans(SlotKind.CONDITION, packed.hidden_row(index))
                weights[row, index, span.start : span.stop] = 1 / len(span)
        return weights

    def perceiver_rows(self) -> Tensor:
        """Rows of the perceiver tokens, which all prompts share, (B, F) int64."""
        return torch.tensor([list(p.suffixes[0].prompt.spans(SlotKind.PERCEIVER)[0]) for p in self.packed])


def read_together(prompts: Sequence[Sequence[Prompt]], dims: HypersegDimensions) -> Reading:
    """Prompts about B images, each image's packed as at inference; shorter ones are padded."""
    packed = [next(pack(of_image, (), UNLIMITED)) for of_image in prompts]
    batch, tokens = len(packed), max(call.tokens for call in packed)
    token_ids = np.zeros((batch, tokens), np.int64)
    visual = np.zeros((batch, tokens), np.int64)
    positions = np.zeros((batch, tokens), np.int64)
    attended = np.zeros((batch, tokens, 2, 2), np.int64)
    attended[:, :, 0, 1] = 1
    first = {
        SlotKind.IMAGE: 0,
        SlotKind.PERCEIVER: dims.image_tokens,
        SlotKind.MASK_QUERIES: dims.image_tokens + dims.perceiver_queries,
    }
    for row, call in enumerate(packed):
        attended[row, : call.tokens] = call.attended_slots()[0]
        positions[row, : call.tokens] = call.position_ids()[0]
        start = 0
        for slot in call.new_rows().slots:
            span = slice(start, start + slot.length)
            if slot.token_ids:
                token_ids[row, span] = slot.token_ids
            else:
                token_ids[row, span] = -1
                visual[row, span] = first[slot.kind] + np.arange(slot.length)
            start += slot.length
    arrays = (token_ids, visual, positions, attended)
    ids, filled, places, seen = (torch.as_tensor(array) for array in arrays)
    return Reading(ids, filled, places, seen, packed)


def expression_prompts(
    texts: Sequence[str], task: Task, tokenizer: Tokenizer, dims: HypersegDimensions
) -> list[Prompt]:
    return [build_prompt(task, text, tokenizer, dims) for text in texts]


def answered_prompt(
    question: str, answer: str, tokenizer: Tokenizer, dims: HypersegDimensions
) -> tuple[Prompt, list[int]]:
    """A question with its answer behind it, and the ids to be said: the answer's and end-of-text."""
    prompt = build_prompt(Task.QUESTION, question, tokenizer, dims)
    answer_ids = tokenizer.encode(f" {answer}")
    return continue_prompt(prompt, answer_ids, dims), [*answer_ids, dims.eos_token_id]
