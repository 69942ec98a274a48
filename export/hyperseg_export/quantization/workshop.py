"""Where graphs are rounded and put together: several forms of each lie side by side until one mix is chosen."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from hyperseg_export.export import code_hash
from hyperseg_export.jobs.staging import Staging, content_key
from hyperseg_export.parity.reference import record_calls
from hyperseg_export.quantization.observing import Observed
from hyperseg_export.quantization.recipes import GraphRecipe
from hyperseg_export.quantization.rewriting import rewrite
from hyperseg_runtime.bundle.manifest import FILE_NAME, FileEntry, GraphEntry, Manifest
from hyperseg_runtime.bundle.opening import Bundle, describe_file
from hyperseg_runtime.bundle.quantization import CalibrationEntry, GateEntry, QuantizationEntry
from hyperseg_runtime.files.hashing import remembered_hash
from hyperseg_runtime.files.writing import explained, fsync_file, write_atomically
from hyperseg_runtime.images.reading import ImageSource


@dataclass
class Mix:
    """rounded: graph -> its entry; kept: graph -> why it stays as it is."""

    rounded: dict[str, GraphEntry]
    kept: dict[str, str]

    def take(self, graph: str, entry: GraphEntry | None) -> None:
        """None where nothing of the graph could be rounded."""
        if entry is None:
            self.kept[graph] = "none of its layers could be rounded"
        else:
            self.rounded[graph] = entry

    def keep(self, graph: str, reason: str) -> None:
        self.rounded.pop(graph, None)
        self.kept[graph] = reason


class Workshop:
    """The staging folder comes to hold the files of the bundle too that a mix takes over, so that any mix is one
    manifest beside them. They are copied: onnx-ir 1.1 reads no weights from a file with several hard links.
    """

    def __init__(
        self,
        bundle: Bundle,
        staging: Staging,
        recipe: str,
        picture: ImageSource,
        observed: Observed,
        calibration: CalibrationEntry | None,
    ) -> None:
        """`recipe` is the name that manifests tell; `picture` is what calls of graphs are recorded on, see `record`."""
        self.bundle = bundle
        self._recipe = recipe
        self._picture = picture
        self.observed = observed
        self._staging = staging
        self._calibration = calibration
        self._source = sha256(bundle.manifest.to_bytes()).hexdigest()
        self._files: dict[str, FileEntry] = {}

    @property
    def directory(self) -> Path:
        return self._staging.directory

    def round(self, graph: str, recipe: GraphRecipe, label: str = "") -> GraphEntry | None:
        """The graph by its recipe, in files of its own; `label` tells forms of one scheme apart. None where no layer
        can be rounded. A form that a killed run has finished is not made again.
        """
        entry, name = self.bundle.manifest.graph(graph), f"{recipe.scheme}{label}"

        def work(folder: Path) -> tuple[Iterable[str], dict[str, Any]]:
            made = rewrite(self.bundle.directory, entry, recipe, self.observed.get(graph, {}), folder, name)
            files = (made.file, *made.data_files) if made else ()
            return files, {"entry": made.model_dump_json() if made else None}

        calibration = self._calibration.sha256 if self._calibration else None
        told = [recipe.scheme, recipe.method, recipe.smooth, recipe.block, dict(recipe.skip)]
        key = content_key(graph, name, self._source, code_hash(), calibration, told)
        result = self._staging.run(f"{graph}.{name}", key, work)
        self._files.update(result.files)
        return GraphEntry.model_validate_json(made) if (made := result.facts["entry"]) else None

    def record(self, folder: Path, graphs: Sequence[str] = ()) -> None:
        """Leave in `folder` the calls that graphs (default: all) get from the family's warm-up about the picture."""
        record_calls(self.bundle, graphs or [e.spec.name for e in self.bundle.manifest.graphs], self._picture, folder)

    def written(self, mix: Mix) -> Path:
        """The folder, as a bundle of this mix that is not gated."""
        write_atomically(self.directory / FILE_NAME, self.manifest(mix, None).to_bytes())
        return self.directory

    def _bring(self, names: Iterable[str]) -> None:
        """Copies of files of the bundle that are not here yet. Those of a killed run may be of another bundle, in which
        graphs of other weights have the same sizes.
        """
        with explained(self.directory):
            for name in names:
                target, entry = self.directory / name, self.bundle.manifest.files[name]
                if not target.is_file() or describe_file(target, remembered_hash) != entry:
                    _copy(self.bundle.path(name), target)
                self._files[name] = entry

    def manifest(self, mix: Mix, gate: GateEntry | None) -> Manifest:
        """What a bundle of this mix says of itself; all its files are here now."""
        old = self.bundle.manifest
        graphs = tuple(mix.rounded.get(entry.spec.name, entry) for entry in old.graphs)
        own = {name for entry in old.graphs for name in (entry.file, *entry.data_files)}
        used = {name for entry in graphs for name in (entry.file, *entry.data_files)}
        others = [name for name in old.files if name not in own]
        files: Mapping[str, FileEntry] = {**old.files, **self._files}
        self._bring(name for name in (*used, *others) if name not in self._files)
        parity = old.parity
        return old.model_copy(
            update={
                "graphs": graphs,
                "files": {name: files[name] for name in (*sorted(used), *others)},
                "parity": parity and tuple(entry for entry in parity if entry.graph not in mix.rounded),
                "quantization": QuantizationEntry(
                    recipe=self._recipe,
                    source_sha256=self._source,
                    kept=mix.kept,
                    calibration=self._calibration,
                    gate=gate,
                ),
            }
        )


def _copy(source: Path, target: Path) -> None:
    """Down on the disk, as what steps write."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as old, target.open("wb") as new:
        shutil.copyfileobj(old, new)
        fsync_file(new)
