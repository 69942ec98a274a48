"""From a training folder to a checkpoint folder in the published layout, and back."""

import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.hyperseg.training.network import TensorTable
from hyperseg_export.families.hyperseg.training.recipe import TRAINED, with_vocabulary
from hyperseg_export.families.hyperseg.training.trainer import STATE, load_state
from hyperseg_export.families.hyperseg.training.vocabulary import Vocabulary
from hyperseg_export.families.mask_queries.made_files import write_tensors
from hyperseg_runtime.errors import CheckpointError, InputError, OutputError
from hyperseg_runtime.files.writing import explained, replace_folder

AUXILIARIES = "auxiliaries.safetensors"


def write_trained(training: Path, directory: Path, overwrite: bool = False, trained: Sizes = TRAINED) -> None:
    """Write the tensors of the last state, in the published types, with config.json and the tokenizer's files.

    What only training needs lies beside them in auxiliaries.safetensors; an export does not look at it. The folder
    appears whole or not at all. Raises InputError if nothing was trained yet, OutputError if it exists.
    """
    if not (training / STATE).is_file():
        raise InputError(f"{training}: expected {STATE}, which training writes; found none; train first")
    if directory.exists() and not overwrite:
        raise OutputError(f"{directory} exists; give another name, or overwrite it")
    state = load_state(training)
    with explained(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
        try:
            staging.chmod(0o755)
            sizes = with_vocabulary(trained, Vocabulary.make(staging, trained.max_positions).rows)
            tensors = {name: state["tensors"][name].to(dtype) for name, _, dtype in tensor_layout(sizes)}
            write_tensors(staging, TensorTable(tensors), sizes.config())
            save_file(state["auxiliaries"], staging / AUXILIARIES)
            replace_folder(staging, directory)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


def start_from(training: Path, directory: Path) -> None:
    """Make `training` a folder whose stages but the last gave the checkpoint in `directory`: the last one is to do.

    The checkpoint was written by `write_trained`. Raises CheckpointError if it was not, OutputError if `training`
    holds a state.
    """
    if (training / STATE).exists():
        raise OutputError(f"{training} holds a training already; go on with it, or give another folder")
    if not (directory / AUXILIARIES).is_file():
        raise CheckpointError(f"checkpoint {directory}: expected {AUXILIARIES}, which `write` puts there; found none")
    checkpoint = Checkpoint.open(directory)
    stored = {name: checkpoint.tensor(name) for name in checkpoint.shapes}
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    finished = ["image_encoder", "clip_encoder", "vision", "language"]
    before = {"stage": "masks", "step": 0, "steps": 0, "finished": finished, "cpu_s": 0.0}
    training.mkdir(parents=True, exist_ok=True)
    torch.save({"tensors": tensors, "auxiliaries": load_file(directory / AUXILIARIES), **before}, training / STATE)
