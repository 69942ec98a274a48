"""What may be replaced: folders that this program wrote, if the caller says so, and nothing in them that it did not."""

import json
import os
from pathlib import Path

from hyperseg_runtime.bundle.manifest import FILE_NAME
from hyperseg_runtime.errors import OutputError

ENGINES = "engines"
CONFIG = "config.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.pth")
BESIDE_WEIGHTS = (
    *(CONFIG, "generation_config.json", "added_tokens.json", "special_tokens_map.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
)
"""What this program writes into a checkpoint, all of it side by side in one folder."""


def require_replaceable(target: Path, overwrite: bool, keeps_others: bool = False) -> None:
    """Raise OutputError if a folder must not be made at `target`, because of what is there.

    An empty folder, a bundle and a checkpoint give way to `overwrite`; not one that holds files of others, unless the
    new folder `keeps_others`.
    """
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise OutputError(f"{target} exists; give another name, or --overwrite to replace it")
    if not target.is_dir():
        raise OutputError(f"{target} is no folder; it is not replaced")
    listed = _files_of_bundle(target)
    kind = "bundle" if listed is not None else "checkpoint"
    if listed is None and any(target.iterdir()) and not _is_checkpoint(target):
        raise OutputError(f"{target} holds neither a bundle nor a checkpoint; it is not replaced")
    inside = (path.relative_to(target) for path in sorted(target.rglob("*")) if not path.is_dir())
    foreign = [path.as_posix() for path in inside if not _is_own(path, listed)]
    if foreign and not keeps_others:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise OutputError(
            f"{target} holds {shown}, which is not part of the {kind}; move it away, or give another name"
        )


def _is_own(path: Path, listed: set[str] | None) -> bool:
    """Whether this program wrote a file of a bundle that lists these, or of a checkpoint."""
    if listed is not None:
        return path.as_posix() in listed or path.parts[0] == ENGINES
    return len(path.parts) == 1 and any(path.match(name) for name in (*WEIGHTS, *BESIDE_WEIGHTS))


def _files_of_bundle(folder: Path) -> set[str] | None:
    """What its manifest lists, of whatever version; None for any other folder."""
    try:
        content = json.loads((folder / FILE_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or "format_version" not in content or not isinstance(content.get("files"), dict):
        return None
    return {FILE_NAME, *content["files"]}


def _is_checkpoint(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and any(any(folder.glob(pattern)) for pattern in WEIGHTS)
