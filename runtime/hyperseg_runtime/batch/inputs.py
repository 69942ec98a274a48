"""What a batch goes over: images of a folder, a COCO file or a parquet file, read when their turn comes."""

import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hyperseg_runtime.batch.image_files import image_files
from hyperseg_runtime.errors import HypersegError, ImageError, InputError
from hyperseg_runtime.files.results import input_source
from hyperseg_runtime.files.unreadable import stand_in_of, why_no_folder, why_unreadable
from hyperseg_runtime.images.frames import LeftOut, told
from hyperseg_runtime.images.reading import decode_image, load_image

FORMS = "a folder of images, a COCO file (.json), or a parquet file with a column `image` and perhaps `text`"
TEXT_TYPES = ("string", "large_string")
"""Of Arrow, as they are printed."""


@dataclass(frozen=True)
class Item:
    """One image; `texts` that stand beside it, `name` of its results, `source` that tells it from others."""

    name: str
    source: str
    pixels_hwc_u8: np.ndarray
    texts: tuple[str, ...] = ()


class Inputs(ABC):
    """`keys` names every item, in order and once; an item that cannot be read raises ImageError when it is asked for.
    `left_out`: what lies beside them and is no item. `path`: what was named.
    """

    path: Path
    keys: Sequence[str]
    left_out: Sequence[LeftOut]

    @abstractmethod
    def item(self, key: str) -> Item: ...

    @abstractmethod
    def stamp(self, key: str) -> str:
        """Another one where the file of the item was replaced or changed, by its size and time; it is not read."""


@dataclass(frozen=True)
class Files(Inputs):
    """Image files below `folder`; a key is a path inside it, with / between its parts."""

    path: Path
    folder: Path
    keys: tuple[str, ...] = field(repr=False)
    left_out: tuple[LeftOut, ...] = field(default=(), repr=False)

    @classmethod
    def of_folder(cls, folder: Path) -> "Files":
        """See `image_files`; results of this program are none. Raises InputError for none at all."""
        if reason := why_no_folder(folder):
            raise InputError(f"{folder}: {reason}; expected {FORMS}")
        keys, left_out = image_files(folder)
        if not keys:
            found = f" ({told(left_out, 'image')})" if left_out else ""
            raise InputError(f"{folder}: there is no image in it{found}; expected {FORMS}")
        return cls(folder, folder, keys, left_out)

    @classmethod
    def of_coco(cls, path: Path) -> "Files":
        """The `images` of a COCO file, which lie in its folder, or where `file_name` says from there."""
        try:
            content = json.loads(path.read_bytes())
            names = [image["file_name"] for image in content["images"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path}: is no COCO file with images ({error!r}); expected {FORMS}") from None
        outside = [name for name in names if _leads_out(name)]
        if outside or not names or len(set(names)) != len(names):
            reason = f"{outside[0]!r} leads out of its folder" if outside else "it has no images, or one twice"
            raise InputError(f"{path}: {reason}")
        return cls(path, path.parent, tuple(names))

    def item(self, key: str) -> Item:
        path = self.folder / key
        return Item(key, input_source(path), load_image(path))

    def stamp(self, key: str) -> str:
        return _stamp(self.folder / key)


def _leads_out(name: object) -> bool:
    return not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


@dataclass(frozen=True)
class Rows(Inputs):
    """Rows of a parquet file, numbered from 0. `image` holds a file's bytes, its path, or both as data sets of Hugging
    Face do; `text` one text or a list of them.
    """

    path: Path
    keys: tuple[str, ...] = field(repr=False)
    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def of(cls, path: Path) -> "Rows":
        """Raises InputError for what is no parquet file, or one without rows or the column, EnvironmentMissingError
        without pyarrow.
        """
        parquet = _parquet()
        try:
            table = parquet.ParquetFile(path)
        except MemoryError:
            raise
        except Exception as error:  # of many types
            raise InputError(f"{path}: is no parquet file ({error}); expected {FORMS}") from error
        if "image" not in table.schema_arrow.names:
            raise InputError(f"{path}: has the columns {', '.join(table.schema_arrow.names)}; expected {FORMS}")
        if not table.metadata.num_rows:
            raise InputError(f"{path}: has no rows; expected {FORMS}")
        return cls(path, tuple(str(row) for row in range(table.metadata.num_rows)))

    def item(self, key: str) -> Item:
        called = f"row {key} of {self.path}"
        try:
            row = self._row(int(key))
        except (HypersegError, MemoryError):
            raise
        except Exception as error:  # of many types, where the file is damaged behind its list of rows
            raise ImageError(f"{called}: cannot be read ({error})") from error
        image, text = row["image"], row.get("text") or ()
        texts = (text,) if isinstance(text, str) else text
        if not isinstance(texts, Sequence) or not all(isinstance(one, str) for one in texts):
            raise InputError(f"{called}: its text is {text!r}, expected one text or a list of them")
        data, name = (image.get("bytes"), image.get("path")) if isinstance(image, Mapping) else (image, image)
        label = f"{self.path.name}.{int(key):06d}"
        if isinstance(data, bytes):
            pixels = decode_image(io.BytesIO(data), called)
        elif isinstance(name, str):
            pixels = load_image(self.path.parent / name)
        else:
            raise ImageError(f"{called}: holds no image")
        return Item(label, f"{input_source(self.path)}#{key}", pixels, tuple(texts))

    def stamp(self, key: str) -> str:
        beside = self._beside[int(key)]
        return _stamp(self.path) + (f" {_stamp(self.path.parent / beside)}" if isinstance(beside, str) else "")

    @cached_property
    def _beside(self) -> Sequence[Any]:
        """By row the path of an image that may lie beside the file; no image in the file is read for that."""
        table = _parquet().ParquetFile(self.path)
        kind = table.schema_arrow.field("image").type
        nested = str(kind).startswith("struct") and kind.get_field_index("path") >= 0
        if not nested and str(kind) not in TEXT_TYPES:
            return [None] * len(self.keys)
        try:
            found = table.read(["image.path" if nested else "image"]).column("image").to_pylist()
        except MemoryError:
            raise
        except Exception:  # of many types, where the file is damaged behind its list of rows: each row says so
            return [None] * len(self.keys)
        return [value.get("path") if isinstance(value, Mapping) else value for value in found]

    def _row(self, number: int) -> dict[str, Any]:
        """One row group is read at a time."""
        table = _parquet().ParquetFile(self.path)
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            if number < rows:
                columns = [name for name in ("image", "text") if name in table.schema_arrow.names]
                found: dict[str, Any] = table.read_row_group(group, columns).slice(number, 1).to_pylist()[0]
                return found
            number -= rows
        raise InputError(f"{self.path}: has no row {number}")


def _stamp(path: Path) -> str:
    """Empty where there is no such file: reading it tells why."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}"


def open_inputs(path: Path) -> Inputs:
    """Raises InputError for a path that is none of FORMS."""
    if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for some of the names that are none)
        return Files.of_folder(path)
    if reason := why_unreadable(path):
        raise InputError(f"{path}: {reason}; expected {FORMS}")
    if what := stand_in_of(path):
        raise InputError(f"{path}: is {what}")
    match path.suffix.lower():
        case ".json":
            return Files.of_coco(path)
        case ".parquet":
            return Rows.of(path)
    raise InputError(f"{path}: expected {FORMS}")


def _parquet() -> Any:
    from hyperseg_runtime.console import load_extra

    return load_extra("pyarrow.parquet", "batch")
