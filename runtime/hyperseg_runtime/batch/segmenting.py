"""The job of a batch: one request asked about every image, its results written beside each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hyperseg_runtime.batch.inputs import Inputs, Item
from hyperseg_runtime.batch.item_file import Row
from hyperseg_runtime.batch.subject import Subject
from hyperseg_runtime.batch.working import Answer
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import HypersegError, InputError, OutputError, ResourceError
from hyperseg_runtime.files.results import Kind, ResultFolder, result_name
from hyperseg_runtime.files.writing import output_folder
from hyperseg_runtime.reports.result_files import contents_of
from hyperseg_runtime.session.pipeline import Pipeline

ERROR = "error"
"""Name in the row of an image that could not be answered; its value says why."""


@dataclass(frozen=True)
class Segmenting:
    """`request` of every item; expressions without texts take those that stand beside each image.

    ids        of the categories by name, for COCO files
    overwrite  begin anew, and let results replace whatever file has their name
    """

    subject: Subject
    inputs: Inputs
    request: Expressions | Classes
    out: Path
    kinds: tuple[Kind, ...]
    ids: tuple[tuple[str, int], ...] = ()
    overwrite: bool = False

    @contextmanager
    def __call__(self) -> Iterator[Answer]:
        with self.subject.opened() as pipeline:
            yield lambda key: self._answer(pipeline, lambda: self.inputs.item(key))

    def conditions(self) -> dict[str, Any]:
        """What decides the results of an item, as JSON; its own file apart. Raises BundleError."""
        return {
            **self.subject.conditions(),
            "inputs": str(self.inputs.path),
            "request": {"kind": self.request.kind, **vars(self.request)},
            "kinds": self.kinds,
            "ids": self.ids,
        }

    def _answer(self, pipeline: Pipeline, read: Callable[[], Item]) -> list[Row]:
        """What is wrong with an image is told in its place; what is wrong with the place of results ends the batch."""
        try:
            return self._rows(pipeline, read())
        except (OutputError, ResourceError):
            raise
        except HypersegError as error:
            return [{ERROR: str(error)}]

    def _rows(self, pipeline: Pipeline, item: Item) -> list[Row]:
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
                # Text has no seal by which a batch that was killed would know its own file.
                folder = ResultFolder(self.out, self.overwrite or kind is Kind.YOLO)
                with output_folder((self.out / name).parent):
                    folder.write(name, contents[kind], item.source)
            score = result.score if isinstance(result, Instances) else None
            files = {kind.key: name for kind, name in names.items()}
            rows.append({"asked": list(result.asked), "task": result.task, "score": score, "files": files})
        return rows
