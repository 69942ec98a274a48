"""The job of a batch: one request asked about every image, its results written beside each other."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hyperseg_runtime.batch.inputs import Inputs
from hyperseg_runtime.batch.item_file import Row
from hyperseg_runtime.batch.subject import Subject
from hyperseg_runtime.batch.working import Answer
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError, NumericsError, OutputError
from hyperseg_runtime.files.results import UNSEALED, Kind, ResultFolder, result_name
from hyperseg_runtime.files.writing import explained, output_folder
from hyperseg_runtime.reports.result_files import contents_of
from hyperseg_runtime.session.pipeline import Pipeline

ERROR = "error"
"""Name in the row of an image that could not be answered; its value says why."""
UNSEALED_FILES = "unsealed"
"""Name in a row of the files that have no seal, each with the SHA-256 of what was written."""
OF_ONE_IMAGE = (InputError, NumericsError)
"""What an image, or the text beside it, can cause without another one failing, too: float16 overflows for some."""


@dataclass(frozen=True)
class Segmenting:
    """`request` of every item; expressions without texts take those that stand beside each image.

    ids        of the categories by name, for COCO files
    overwrite  begin anew, and let results replace whatever file has their name
    unsealed   by item what an earlier call of this batch wrote without a seal, see `UNSEALED_FILES`
    """

    subject: Subject
    inputs: Inputs
    request: Expressions | Classes
    out: Path
    kinds: tuple[Kind, ...]
    ids: tuple[tuple[str, int], ...] = ()
    overwrite: bool = False
    unsealed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @contextmanager
    def __call__(self) -> Iterator[Answer]:
        """Raises InputError and PromptError for a request that no image could be asked."""
        with self.subject.opened() as pipeline:
            pipeline.check(pipeline.family.with_task(self.request))
            yield lambda key: self._answer(pipeline, key)

    def conditions(self) -> dict[str, Any]:
        """What decides the results of an item, as JSON; its own file apart. Raises BundleError."""
        return {
            **self.subject.conditions(),
            "inputs": str(self.inputs.path),
            "request": {"kind": self.request.kind, **vars(self.request)},
            "kinds": self.kinds,
            "ids": self.ids,
        }

    def _answer(self, pipeline: Pipeline, key: str) -> list[Row]:
        """What is wrong with an image is told in its place; everything else ends the batch."""
        try:
            return self._rows(pipeline, key)
        except OutputError:
            raise
        except OF_ONE_IMAGE as error:
            return [_with_unsealed({ERROR: str(error)}, self.unsealed.get(key, {}))]

    def _rows(self, pipeline: Pipeline, key: str) -> list[Row]:
        item = self.inputs.item(key)
        request = self.request
        if isinstance(request, Expressions) and not request.texts:
            if not item.texts:
                raise InputError(f"{item.name}: no text stands beside the image, and none was given")
            request = replace(request, texts=item.texts)
        with pipeline.open(item.pixels_hwc_u8, keep=False) as session:
            results = session.run(request)
        rows = []
        for number, result in enumerate(results, 1):
            names = {kind: result_name(item.name, kind, number if len(results) > 1 else None) for kind in self.kinds}
            contents = contents_of(result, item.name, item.pixels_hwc_u8, names, dict(self.ids))
            for kind, name in names.items():
                self._write(key, name, contents[kind], item.source)
            score = result.score if isinstance(result, Instances) else None
            files = {kind.key: name for kind, name in names.items()}
            row = {"asked": list(result.asked), "task": result.task, "score": score, "files": files}
            unsealed = {name: _sha256(contents[kind]) for kind, name in names.items() if name.endswith(UNSEALED)}
            rows.append(_with_unsealed(row, unsealed))
        return rows

    def _write(self, key: str, name: str, data: bytes, source: str) -> None:
        is_own = name.endswith(UNSEALED) and self._wrote(key, name, data)
        with output_folder((self.out / name).parent):
            ResultFolder(self.out, self.overwrite or is_own).write(name, data, source)

    def _wrote(self, key: str, name: str, data: bytes) -> bool:
        """Whether what lies at `name` is of this batch: what it wrote, or `data`, which it may have written before it
        was killed.
        """
        path = self.out / name
        known = (self.unsealed.get(key, {}).get(name), _sha256(data))
        with explained(path):
            return path.is_file() and _sha256(path.read_bytes()) in known


def _with_unsealed(row: Row, files: Mapping[str, str]) -> Row:
    return {**row, UNSEALED_FILES: dict(files)} if files else row


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
