"""Reading the files of published data sets; whatever is missing or of another kind is told with what was expected."""

import json
import pickle
from io import BufferedReader
from pathlib import Path
from typing import Any

from hyperseg_runtime.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".png")


class _PlainUnpickler(pickle.Unpickler):
    """Lists, dicts, numbers and text; a pickle that asks for anything else could run anything."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise InputError(f"asks for {module_name}.{global_name}; expected lists, dicts, numbers and text only")


def folder_of(choice_folder: str | None, layout: str) -> Path:
    """The data set's folder. Raises InputError where none is given or it is none."""
    if choice_folder is None:
        raise InputError(f"this data set needs --data FOLDER, laid out as {layout}")
    folder = Path(choice_folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; expected one laid out as {layout}")
    return folder


def first_of(folder: Path, *candidates: str) -> Path:
    """The first of these paths inside `folder` that is there. Raises InputError that names them all."""
    for candidate in candidates:
        if (folder / candidate).exists():
            return folder / candidate
    here = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
    raise InputError(f"{folder}: expected {' or '.join(candidates)}; found {here}")


def read_json(path: Path) -> Any:
    """Raises InputError for a file that is missing or no JSON. ReasonSeg has some files in Windows' Latin 1."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return json.loads(data.decode(encoding))
        except UnicodeDecodeError:
            continue
        except ValueError as error:
            raise InputError(f"{path}: is no JSON ({error})") from error
    raise InputError(f"{path}: is no text")


def read_pickle(path: Path) -> Any:
    """Plain values from a pickle of Python 2 or 3; nothing is run. Raises InputError for any other content."""
    try:
        with path.open("rb") as file:
            return _load(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path}: is no pickle ({error})") from error


def _load(file: BufferedReader) -> Any:
    return _PlainUnpickler(file, encoding="latin1").load()


def image_file(folder: Path, name: str) -> Path:
    """The image of this name, with or without its ending. Raises InputError where it is missing."""
    path = folder / name
    if path.suffix and path.is_file():
        return path
    for suffix in IMAGE_SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise InputError(f"{path}: the image is missing ({', '.join(IMAGE_SUFFIXES)})")


def field_of(entry: Any, name: str, path: Path) -> Any:
    """`entry[name]` of a file's content. Raises InputError where it is not there."""
    if not isinstance(entry, dict) or name not in entry:
        found = ", ".join(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        raise InputError(f"{path}: expected {name!r}, found {found or 'nothing'}")
    return entry[name]
