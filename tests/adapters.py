"""A small model and LoRA adapters for it, made by peft."""

import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PhiConfig, PhiForCausalLM

from hyperseg_export.adapters.slots import KeptAdapter
from hyperseg_export.checkpoint.unread import ADAPTER_WEIGHTS
from hyperseg_export.export import write_graph
from hyperseg_export.families.hyperseg.tiny import TINY
from hyperseg_export.model import SourceModel
from hyperseg_runtime.bundle.manifest import FILE_NAME
from hyperseg_runtime.bundle.opening import Bundle, describe_file, read_manifest

SMALL = replace(TINY, image_px=64, clip_layers=2, swin_depths=(1, 1, 1, 1), mask_layers=1, pixel_layers=1)
"""Every part in its smallest form, but two layers of the language model: adapters may differ between layers."""

ATTENTION = ["q_proj", "v_proj"]
EVERY_LINEAR = [*ATTENTION, "k_proj", "dense", "fc1", "fc2"]
ADAPTERS: Mapping[str, Mapping[str, Any]] = {
    "first": {"r": 4, "lora_alpha": 16, "target_modules": ATTENTION},
    "second": {"r": 4, "lora_alpha": 4, "target_modules": ATTENTION, "use_rslora": True},
    "every": {"r": 3, "lora_alpha": 5, "target_modules": EVERY_LINEAR},
    "low": {"r": 2, "lora_alpha": 16, "target_modules": ["v_proj"], "layers_to_transform": [1]},
    "high": {"r": 5, "lora_alpha": 16, "target_modules": ATTENTION},
    "other": {"r": 4, "lora_alpha": 16, "target_modules": ["fc1"]},
}


def write_adapter(folder: Path, seed: int, options: Mapping[str, Any], width: int = SMALL.width) -> None:
    """Let peft save an adapter for a Phi of the small model's sizes, with random factors."""
    torch.manual_seed(seed)
    config = PhiConfig(
        vocab_size=11,
        hidden_size=width,
        intermediate_size=SMALL.mlp_width,
        num_hidden_layers=SMALL.layers,
        num_attention_heads=SMALL.heads,
        max_position_embeddings=16,
        pad_token_id=None,
        bos_token_id=0,
        eos_token_id=0,
    )
    with warnings.catch_warnings(), torch.no_grad():
        # peft 0.21 reads a property that transformers 5.23 deprecates.
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = get_peft_model(PhiForCausalLM(config), LoraConfig(**options))
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:  # peft begins with zeros
                parameter.normal_(std=0.1)
        wrapped.save_pretrained(folder)


def edit_factors(
    folder: Path,
    change: Callable[[str, Tensor], tuple[str, Tensor]],
    keep: Callable[[str], bool] = lambda name: True,
) -> None:
    """Change names and values of an adapter's tensors, and leave some out."""
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    changed = dict(change(name, tensor) for name, tensor in tensors.items() if keep(name))
    save_file({name: tensor.contiguous() for name, tensor in changed.items()}, folder / ADAPTER_WEIGHTS)


def with_llm(bundle: Path, target: Path, model: SourceModel, kept: KeptAdapter | None) -> Bundle:
    """A copy of `bundle` with another language model: `model`'s, or with an adapter apart."""
    shutil.copytree(bundle, target)
    manifest = read_manifest(target)
    graph = manifest.graph("llm")
    files, facts = write_graph(kept.model if kept else model, graph.spec, target, {}, kept=kept)
    entry = graph.model_copy(update={"data_files": tuple(facts["data_files"])})
    described = {**manifest.files, **{name: describe_file(target / name) for name in files}}
    if kept is None and manifest.adapter is not None:
        described.pop(manifest.adapter.file)
        (target / manifest.adapter.file).unlink()
    changes = {
        "graphs": tuple(entry if other is graph else other for other in manifest.graphs),
        "files": described,
        "adapter": kept.entry if kept else None,
    }
    (target / FILE_NAME).write_bytes(manifest.model_copy(update=changes).to_bytes())
    return Bundle.open(target)
