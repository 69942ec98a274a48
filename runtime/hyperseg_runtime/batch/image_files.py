"""Which files below a folder are images: by what they hold, as `run` and `video` read them, and nothing is passed over
without a word.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from hyperseg_runtime.files.results import result_of
from hyperseg_runtime.files.unreadable import why_no_folder
from hyperseg_runtime.images.frames import LeftOut, why_no_frame

OWN = "results of this program"


def image_files(folder: Path) -> tuple[tuple[str, ...], tuple[LeftOut, ...]]:
    """Paths inside `folder` with / between their parts, in order; and what was left out, with reasons. Links to folders
    are followed, none of them twice. A folder that cannot be listed may have held images: it is lost.
    """
    real = Path(os.path.realpath(folder))
    entered = {str(path): str(path) for path in (real, *real.parents)}
    verdicts = list(_verdicts(folder, "", entered))
    left_out = [why._replace(name=key) for key, why in verdicts if why is not None and why.reason != OWN]
    if own := sum(why is not None and why.reason == OWN for _, why in verdicts):
        left_out.append(LeftOut(f"{own} files", OWN, False))
    return tuple(key for key, why in verdicts if why is None), tuple(left_out)


def _verdicts(folder: Path, inside: str, entered: dict[str, str]) -> Iterator[tuple[str, LeftOut | None]]:
    """Of everything below `folder`, whose path from the start is `inside`; None for an image."""
    for entry in sorted(folder.iterdir()):
        key = inside + entry.name
        if not os.path.isdir(entry):  # noqa: PTH112  (Path.is_dir raises for some of the names that are none)
            yield key, LeftOut(key, OWN, False) if result_of(entry) else why_no_frame(entry)
        elif why := _why_not_entered(entry, entered):
            yield key, why
        else:
            entered[os.path.realpath(entry)] = key
            yield from _verdicts(entry, f"{key}/", entered)


def _why_not_entered(folder: Path, entered: dict[str, str]) -> LeftOut | None:
    if folder.name.startswith("."):
        return LeftOut(folder.name, "hidden", False)
    if reason := why_no_folder(folder):
        return LeftOut(folder.name, reason, True)
    if again := entered.get(os.path.realpath(folder)):
        return LeftOut(folder.name, f"the folder {again}, which is not entered again", False)
    return None
