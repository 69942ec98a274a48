"""From a training folder to a checkpoint folder in the published layout."""

import shutil
import tempfile
from pathlib import Path

from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.hyperseg.tiny import write_tensors
from hyperseg_export.training.network import TensorTable
from hyperseg_export.training.recipe import TRAINED, with_vocabulary
from hyperseg_export.training.trainer import STATE, load_state
from hyperseg_export.training.vocabulary import Vocabulary
from hyperseg_runtime.errors import InputError, OutputError
from hyperseg_runtime.files import explained, replace_folder


def write_trained(training: Path, directory: Path, overwrite: bool = False, trained: Sizes = TRAINED) -> None:
    """Write the tensors of the last state, in the published types, with config.json and the tokenizer's files.

    The folder appears whole or not at all. Raises InputError if nothing was trained yet, OutputError if it exists.
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
            write_tensors(staging, TensorTable(tensors), sizes)
            replace_folder(staging, directory)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
