"""A HyperSeg checkpoint in miniature: the published layout, random weights, a tokenizer of its own."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from hyperseg_export.checkpoint.folder import CONFIG, INDEX
from hyperseg_export.checkpoint.key_map import TensorSource
from hyperseg_export.checkpoint.random_weights import RandomCheckpoint
from hyperseg_export.checkpoint.safetensors_file import write_safetensors
from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.modules.swin import relative_position_index
from hyperseg_runtime.families.hyperseg.prompts import SYSTEM, TEMPLATES

END_OF_TEXT, SEG = "<|endoftext|>", "[SEG]"
MERGED_TOKENS = 144
BASE_TOKENS = 256 + MERGED_TOKENS
SPACE_RUNS, TAB_RUNS = range(31, 1, -1), range(9, 1, -1)
TOKEN_ROWS = BASE_TOKENS + 1 + len(SPACE_RUNS) + len(TAB_RUNS) + 1
SHARDS = 2

TINY = Sizes(
    image_px=256,
    context=384,
    width=80,
    mlp_width=160,
    layers=2,
    heads=4,
    max_positions=512,
    token_rows=TOKEN_ROWS,
    logit_rows=512,
    clip_width=48,
    clip_mlp_width=96,
    clip_layers=3,
    clip_heads=4,
    clip_image_px=76,
    swin_width=16,
    swin_depths=(2, 2, 2, 2),
    swin_heads=(1, 2, 4, 8),
    swin_window=6,
    perceiver_width=64,
    perceiver_queries=12,
    mask_width=64,
    mask_mlp_width=128,
    mask_queries=10,
)


TABLES = frozenset(
    {"model.embed_tokens.weight", "seg_query", "temporal_query", "level_embed.weight"}
    | {"predictor.query_embed.weight", "predictor.level_embed.weight"}
    | {"pixel_decoder.transformer.level_embed"}
)
"""Tensors whose rows are used as they are: they keep unit variance."""
OFFSET_SPREAD_PX = 2.0
"""Samples of deformable attention land a few pixels away, some outside the map."""


def random_checkpoint(sizes: Sizes, seed: int) -> RandomCheckpoint:
    """All tensors of a HyperSeg of these sizes, made on demand."""

    def special(name: str, noise: Tensor) -> Tensor | None:
        if name.endswith("relative_position_index"):
            return relative_position_index(sizes.swin_window)
        if name.endswith("sampling_offsets.bias"):
            return OFFSET_SPREAD_PX * noise
        if name == "pixel_decoder.mask_features.weight":
            # Its inputs are all positive; without a constant part masks cover some of the image, not all or none.
            return (noise - noise.mean(1, keepdim=True)) / math.sqrt(noise.shape[1])
        return noise if name in TABLES else None

    return RandomCheckpoint(tensor_layout(sizes), seed, special)


def write_checkpoint(directory: Path, sizes: Sizes, seed: int) -> None:
    """A random checkpoint. The tokenizer has `TOKEN_ROWS` tokens; `sizes` must have room for them."""
    write_tensors(directory, random_checkpoint(sizes, seed), sizes)
    write_own_tokenizer(directory, sizes)


def write_tensors(directory: Path, source: TensorSource, sizes: Sizes) -> None:
    """config.json, generation_config.json, and two safetensors shards with an index, each in memory at once."""
    names = sorted(source.shapes)
    weight_map, total = {}, 0
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        tensors = {name: source.tensor(name).contiguous() for name in names[shard::SHARDS]}
        layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        write_safetensors(directory / file, layout, tensors.__getitem__)
        weight_map.update(dict.fromkeys(tensors, file))
        total += sum(tensor.nbytes for tensor in tensors.values())
    _write_json(directory / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    write_config(directory, sizes)


def write_config(directory: Path, sizes: Sizes) -> None:
    """config.json and generation_config.json."""
    _write_json(directory / CONFIG, sizes.config())
    _write_json(directory / "generation_config.json", {"_from_model_config": True, "do_sample": False})


def write_own_tokenizer(directory: Path, sizes: Sizes) -> None:
    """The tokenizer of made checkpoints, which knows the words of the prompts, and bytes."""
    write_tokenizer(directory, sizes.max_positions, _training_text(), BASE_TOKENS)


def write_tokenizer(directory: Path, max_length: int, texts: Iterable[str], most_tokens: int) -> int:
    """vocab.json, merges.txt and added tokens in the layout of the CodeGen tokenizer. Returns the number of all tokens.

    Merges are learned from `texts` until there are `most_tokens` before the added ones, or nothing is left to merge.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=most_tokens, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.model.save(str(directory))
    base = tokenizer.get_vocab_size()
    contents = [END_OF_TEXT, *(" " * n for n in SPACE_RUNS), *("\t" * n for n in TAB_RUNS), SEG]
    added = {content: base + index for index, content in enumerate(contents)}
    _write_json(directory / "added_tokens.json", added)
    decoder = {
        str(token_id): {
            "content": content,
            "lstrip": False,
            "normalized": content != END_OF_TEXT,
            "rstrip": False,
            "single_word": False,
            "special": content == END_OF_TEXT,
        }
        for content, token_id in added.items()
    }
    special = {f"{role}_token": END_OF_TEXT for role in ("bos", "eos", "pad", "unk")}
    config = {"tokenizer_class": "CodeGenTokenizer", "model_max_length": max_length, **special}
    _write_json(
        directory / "tokenizer_config.json",
        {"add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": decoder, **config},
    )
    _write_json(directory / "special_tokens_map.json", special)
    return base + len(contents)


def _training_text() -> Iterable[str]:
    """The words every prompt holds, so that prompts stay short."""
    yield SYSTEM
    for template in TEMPLATES.values():
        yield template.human
        yield template.answer
    yield " USER: ASSISTANT: the man on the left, a cup of coffee, the cat's eyes"


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
