"""A class list by its name, from a file, or as it was typed."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.unreadable import stand_in_of, why_unreadable

SHIPPED = ("coco", "ade20k")
LARGEST_BYTES = 1 << 20
SYNONYMS = ";"
JSON = ".json"
TEXT = (".txt", ".names")
OTHER_LISTS = (".csv", ".tsv", ".yaml", ".yml", ".toml", ".xml")
"""Where others keep their classes, such as YOLO in its data.yaml; none of their lines is the name of a class."""
FORMS = (
    f"{', '.join(SHIPPED)}, a text file (.txt) with a class a line (synonyms behind {SYNONYMS!r}), a JSON file with a "
    'list of {"name", "isthing", "id", "synonyms"} as COCO has its categories, or names with commas between them'
)


@dataclass(frozen=True)
class ClassList:
    """`ids` are the data set's own numbers; 1, 2, ... where a list has none."""

    names: tuple[str, ...]
    ids: tuple[int, ...]
    things: tuple[bool, ...] | None
    synonyms: tuple[tuple[str, ...], ...] = ()

    def request(self, task: str | None = None) -> Classes:
        """Raises InputError for names that are empty or stand twice."""
        return Classes.of(self.names, task, self.things, self.synonyms)


def read_class_list(asked: str) -> ClassList:
    """What `--classes` takes: see FORMS. Raises InputError for a file that is not there or holds something else."""
    if asked not in SHIPPED and (os.path.lexists(asked) or _is_path(asked)):
        return _of_file(Path(asked))
    return written_class_list(asked)


def _is_path(asked: str) -> bool:
    """Whether it can only be meant as a file: "door/gate" may be one of several names, but is no list by itself."""
    endings = {Path(name.strip()).suffix.lower() for name in asked.split(",")}
    has_ending = not endings.isdisjoint((JSON, *TEXT, *OTHER_LISTS))
    return has_ending or (bool({"/", os.sep} & {*asked}) and not {",", SYNONYMS} & {*asked})


def written_class_list(asked: str) -> ClassList:
    """The same without files: a shipped list by its name, or names with commas between them."""
    if asked in SHIPPED:
        return _of_categories(json.loads((files(__package__) / f"{asked}.json").read_text()), asked)
    return _of_names([name.split(SYNONYMS) for name in asked.split(",")])


def _of_file(path: Path) -> ClassList:
    if not os.path.lexists(path):
        raise InputError(f"there is no class list {path}; a class list is {FORMS}")
    if reason := why_unreadable(path):
        raise InputError(f"class list {path}: {reason}; a class list is {FORMS}")
    if what := stand_in_of(path):
        raise InputError(f"class list {path}: is {what}")
    if path.suffix.lower() not in ("", JSON, *TEXT):
        raise InputError(
            f"class list {path}: files ending in {path.suffix} are not read; write its names into a file ending in "
            f".txt, a class a line; a class list is {FORMS}"
        )
    if path.stat().st_size > LARGEST_BYTES:
        raise InputError(f"class list {path}: more than {LARGEST_BYTES} bytes; a class list is {FORMS}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == JSON else None
    except (ValueError, RecursionError) as error:
        raise InputError(f"class list {path}: {error}; a class list is {FORMS}") from None
    if content is None:
        return _of_names([line.split(SYNONYMS) for line in text.splitlines() if line.strip()])
    return _of_categories(content, str(path))


def _of_names(classes: Sequence[Sequence[str]]) -> ClassList:
    stripped = [[name.strip() for name in names] for names in classes]
    synonyms = tuple(tuple(rest) for _, *rest in stripped)
    return ClassList(
        tuple(first for first, *_ in stripped), tuple(range(1, len(stripped) + 1)), None, _unless_empty(synonyms)
    )


def _of_categories(content: Any, where: str) -> ClassList:
    """COCO's list of categories, by itself or as `categories` of an annotation file."""
    rows = content.get("categories") if isinstance(content, Mapping) else content
    if not isinstance(rows, list) or not all(_is_category(row) for row in rows):
        raise InputError(f"class list {where}: holds no list of categories with names; a class list is {FORMS}")
    flagged = [row["isthing"] for row in rows if "isthing" in row]
    if flagged and len(flagged) != len(rows):
        raise InputError(f"class list {where}: {len(flagged)} of {len(rows)} classes say whether they are things")
    return ClassList(
        tuple(row["name"] for row in rows),
        tuple(row.get("id", number) for number, row in enumerate(rows, 1)),
        tuple(bool(flag) for flag in flagged) if flagged else None,
        _unless_empty(tuple(tuple(row.get("synonyms", ())) for row in rows)),
    )


def _is_category(row: Any) -> bool:
    return (
        isinstance(row, Mapping)
        and isinstance(row.get("name"), str)
        and isinstance(row.get("id", 0), int)
        and row.get("isthing", 0) in (0, 1)
        and isinstance(row.get("synonyms", []), list)
        and all(isinstance(name, str) for name in row.get("synonyms", []))
    )


def _unless_empty(synonyms: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    return synonyms if any(synonyms) else ()
