"""Reading the files of published data sets; whatever is missing or of another kind is told with what was expected."""

import json
import pickle
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from hyperseg_runtime.contracts.numbers import is_number
from hyperseg_runtime.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".png")
LONGEST_NAME = 250


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


def not_hidden(folder: Path) -> list[Path]:
    """What lies in a folder, by name. What macOS writes beside files of other systems, ._NAME, is no sample."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def read_json(path: Path) -> Any:
    """Raises InputError for a file that is missing or no JSON. ReasonSeg has some files in Windows' Latin 1."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return json.loads(data.decode(encoding), object_pairs_hook=_once, parse_constant=_no_number)
        except UnicodeDecodeError:
            continue
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: is no JSON ({error})") from error
    raise InputError(f"{path}: is no text")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values under one name Python takes the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def read_pickle(path: Path) -> Any:
    """Plain values from a pickle of Python 2 or 3; nothing is run. Raises InputError for any other content."""
    try:
        with path.open("rb") as file:
            return _load(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle calls whatever its bytes say, on lists, dicts, numbers and text
        raise InputError(f"{path}: is no pickle ({error})") from error


def _load(file: BufferedReader) -> Any:
    return _PlainUnpickler(file, encoding="latin1").load()


def image_file(folder: Path, name: str) -> Path:
    """The image of this name, with or without its ending. Raises InputError where it is missing."""
    path = folder_in(folder, name)
    if path.suffix and path.is_file():
        return path
    for suffix in IMAGE_SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise InputError(f"{path}: the image is missing ({', '.join(IMAGE_SUFFIXES)})")


def folder_in(folder: Path, name: str) -> Path:
    """What a file names inside `folder`. Links are followed, since pictures often lie elsewhere; a name does not lead
    out. Raises InputError.
    """
    inside = PurePosixPath(name)
    if (
        not name.isprintable()
        or len(name) > LONGEST_NAME
        or not inside.parts
        or inside.is_absolute()
        or ".." in inside.parts
    ):
        raise InputError(f"{folder}: {name[:LONGEST_NAME]!r} is no name of a file in it")
    return folder / name


def by_number(entries: Any, field: str, path: Path) -> dict[int, dict[str, Any]]:
    """Entries of a file by their number. Raises InputError where one has none, or the number of another."""
    found: dict[int, dict[str, Any]] = {}
    for entry in entries:
        value = field_of(entry, field, path)
        if isinstance(value, bool | float) and not (is_number(value) and value == int(value)):
            raise InputError(f"{path}: {field} {value!r} is no whole number")
        number = int(value)
        if number in found:
            raise InputError(f"{path}: {field} {number} stands there twice")
        found[number] = entry
    return found


def require_numbers(entry: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises InputError for a field that is no finite number, KeyError for one that is missing."""
    for name in names:
        if not is_number(entry[name]):
            raise InputError(f"{name} is {entry[name]!r}, expected a number")


def field_of(entry: Any, name: str, path: Path) -> Any:
    """`entry[name]` of a file's content. Raises InputError where it is not there."""
    if not isinstance(entry, dict) or name not in entry:
        found = ", ".join(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        raise InputError(f"{path}: expected {name!r}, found {found or 'nothing'}")
    return entry[name]
