"""From a checkpoint folder to a bundle folder. Read top to bottom."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hyperseg_export.adapters.slots import KeptAdapter, keep_apart, write_factors
from hyperseg_export.comparison import compare_bundle, forget_calls
from hyperseg_export.jobs.progress import Progress, Silent
from hyperseg_export.jobs.staging import Staging, StepResult, Work, content_key, require_apart
from hyperseg_export.model import SourceModel, table_name
from hyperseg_export.onnx.lint import check_graph
from hyperseg_export.onnx.weight_store import Location, WeightStore
from hyperseg_export.onnx.writer import export_graph, save_graph
from hyperseg_export.opening import CheckpointModel, open_checkpoint
from hyperseg_export.parity.entries import require_passed
from hyperseg_export.precision.lint import check_precision
from hyperseg_export.precision.typed import GraphPrecisions, choose_precisions, typed_model
from hyperseg_export.samples import sample_images
from hyperseg_runtime.bundle.manifest import (
    FILE_NAME,
    FORMAT_VERSION,
    GraphEntry,
    Manifest,
    ParityEntry,
    Provenance,
)
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import table_path
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.writing import fsync_file, output_folder, write_atomically
from hyperseg_runtime.reports import machine

GRAPHS = "graphs"
LIBRARIES = ("hyperseg-trt", "torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime", "onnxruntime-gpu")
SPARE_BYTES = 64 * 2**20  # graphs, tokenizer, manifest, file system overhead
"""What a bundle takes besides its tensors."""
TABLE_DTYPES = {torch.float16: torch.float16, torch.bfloat16: torch.float32, torch.float32: torch.float32}


@dataclass(frozen=True)
class ExportOptions:
    adapter: Path | None = None
    context: int | None = None
    overwrite: bool = False
    measure_parity: bool = True
    keep_adapter: bool = False
    """Keep the adapter apart from the weights, so that it can be swapped; else it is merged into them."""
    precision: str = "fp32"
    precision_of: Mapping[str, str] = field(default_factory=dict)
    """Graph name -> precision, where it differs from the preset `precision`."""


def export_bundle(
    checkpoint: Path, target: Path, options: ExportOptions | None = None, progress: Progress | None = None
) -> Manifest:
    """Write `target`, whole or not at all, and return its manifest.

    Raises CheckpointError, ExportError, ParityError, ResourceError or OutputError. After a crash the same
    call goes on where it stopped.
    """
    options, progress = options or ExportOptions(), progress or Silent()
    require_apart(target, checkpoint, options.adapter or checkpoint)
    opened = open_checkpoint(checkpoint, options.adapter, options.context)
    plan = choose_precisions(opened.model.specs, options.precision, options.precision_of)
    kept = _kept_apart(opened, plan) if options.keep_adapter else None
    model = kept.model if kept else typed_model(opened.model, plan)
    with output_folder(target.parent), Staging(target, options.overwrite) as staging:
        forget_calls(staging.directory)
        staging.require_room(bundle_bytes(model) + SPARE_BYTES)
        return _Export(opened, model, plan, kept, staging, options, progress).run()


def _kept_apart(opened: CheckpointModel, plan: GraphPrecisions) -> KeptAdapter:
    if any(precision is not Precision.FP32 for precision in plan.graphs.values()):
        raise InputError("--keep-adapter keeps float32 factors; leave --precision out, or let the adapter be merged")
    return keep_apart(opened.model, opened.checkpoint)


class _Export:
    def __init__(
        self,
        opened: CheckpointModel,
        model: SourceModel,
        plan: GraphPrecisions,
        kept: KeptAdapter | None,
        staging: Staging,
        options: ExportOptions,
        progress: Progress,
    ) -> None:
        self.opened = opened  # opened.model is float32, `model` the same in the precision of the plan
        self.model = model
        self.plan = plan
        self.kept = kept
        self.staging = staging
        self.options = options
        self.progress = progress
        self.stage = 0
        self.stages = len(model.specs) + 2
        self.versions = installed_libraries()

    def run(self) -> Manifest:
        self._announce("checkpoint")
        self.fingerprint = self.opened.checkpoint.base.fingerprint()
        self.origin = [self.fingerprint, self.opened.checkpoint.adapter_sha256, self.versions, code_hash()]
        known: dict[str, Location] = {}
        graphs = [self._graph(spec, known) for spec in self.model.specs]
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in self.model.definition.files.items()}
        host = self._step("host files", self._write_host_files, sorted(self.model.tables), hashes)
        files = {
            name: entry for result in (*(result for _, result in graphs), host) for name, entry in result.files.items()
        }
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            family=self.opened.model.family,
            dimensions=self.opened.model.dimensions.model_dump(mode="json"),
            graphs=tuple(entry for entry, _ in graphs),
            files=files,
            coverage=self.opened.coverage(),
            provenance=Provenance(
                checkpoint_sha256=self.fingerprint,
                adapter_sha256=self.opened.checkpoint.adapter_sha256,
                versions=self.versions,
                created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            ),
            parity=None,
            adapter=self.kept.entry if self.kept else None,
        )
        if self.options.measure_parity:
            manifest = manifest.model_copy(update={"parity": self._measure(manifest)})
        write_atomically(self.staging.directory / FILE_NAME, manifest.to_bytes())
        self.staging.commit([*files, FILE_NAME])
        return manifest

    def _graph(self, spec: GraphSpec, known: dict[str, Location]) -> tuple[GraphEntry, StepResult]:
        precision = self.plan.graphs[spec.name]

        def write(directory: Path) -> tuple[Iterable[str], dict[str, Any]]:
            return write_graph(self.model, spec, directory, known, precision, self.kept, key, self._tell_bytes)

        slots = self.kept.entry.model_dump(mode="json") if self.kept else None
        made_from = (spec.model_dump(mode="json"), precision, slots)
        key = content_key(spec.name, self.origin, *made_from)
        result = self._step(spec.name, write, *made_from)
        known.update({digest: Location(*place) for digest, place in result.facts["tensors"].items()})
        entry = GraphEntry(
            spec=spec,
            file=f"{GRAPHS}/{spec.name}.onnx",
            data_files=tuple(result.facts["data_files"]),
            precision=precision,
            parameters=result.facts["parameters"],
        )
        return entry, result

    def _write_host_files(self, directory: Path) -> tuple[Iterable[str], dict[str, Any]]:
        """What the host reads: tables of rows, and the family's own files."""
        for name in self.model.tables:
            stored = self.opened.model.weights.stored(table_name(name))
            path = directory / table_path(name)
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as file:
                np.save(file, stored.to(TABLE_DTYPES[stored.dtype]).numpy(), allow_pickle=False)
                fsync_file(file)
        for name, data in self.model.definition.files.items():
            write_atomically(directory / name, data)
        return [*map(table_path, self.model.tables), *self.model.definition.files], {}

    def _measure(self, manifest: Manifest) -> tuple[ParityEntry, ...]:
        self.staging.keep()
        directory = self.staging.directory
        entries = compare_bundle(Bundle(directory, manifest), self.opened, sample_images(), directory, self.progress)
        require_passed(
            entries,
            f"no bundle was written; the graphs are kept in {directory}: --skip-parity makes a bundle of them, or "
            "delete it",
        )
        return entries

    def _step(self, name: str, work: Work, *parts: object) -> StepResult:
        self._announce(name)
        result = self.staging.run(name, content_key(name, self.origin, *parts), work)
        if name in self.staging.resumed:
            self.progress.note(f"{name}: finished earlier, kept")
        return result

    def _tell_bytes(self, done: int, total: int) -> None:
        self.progress.moved("weights", done, total)

    def _announce(self, name: str) -> None:
        self.stage += 1
        self.progress.stage(name, self.stage, self.stages)


def write_graph(
    model: SourceModel,
    spec: GraphSpec,
    directory: Path,
    known: Mapping[str, Location],
    precision: Precision = Precision.FP32,
    kept: KeptAdapter | None = None,
    key: str | None = None,
    tell_bytes: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[str], dict[str, Any]]:
    """Export, save and lint one graph under `directory`/graphs; returns files and facts of the step.

    `known` are tensors that earlier graphs have already stored, by content hash; `kept` is an adapter to
    keep apart. With a `key` of everything that decides what is written, weights that a killed process wrote are kept.
    `tell_bytes` is told how many bytes of weights are done, and of how many.
    """
    folder = directory / GRAPHS
    folder.mkdir(exist_ok=True)
    apart = kept.placed(spec.name) if kept else {}
    module = model.module(spec.name)
    graph = export_graph(module, spec, model.weights.of_module(module), apart)
    written, data_files = [f"{GRAPHS}/{spec.name}.onnx"], set[str]()
    if kept and apart:
        write_factors(directory / kept.entry.file, kept.entry, kept.adapters)
        written.append(kept.entry.file)
        data_files.add(kept.entry.file)
    total, done = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers())), 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        tell_bytes(done, total)

    with WeightStore(folder, known).open(f"{spec.name}.data", key, count) as weights:
        save_graph(graph, folder / f"{spec.name}.onnx", weights, apart)
    check_graph(folder / f"{spec.name}.onnx", spec)
    check_precision(folder / f"{spec.name}.onnx", module, precision)
    if weights.added:
        written.append(f"{GRAPHS}/{spec.name}.data")
    facts = {
        "tensors": {digest: dataclasses.astuple(place) for digest, place in weights.added.items()},
        "data_files": sorted(data_files | {f"{GRAPHS}/{file}" for file in weights.files}),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }
    return written, facts


def bundle_bytes(model: SourceModel) -> int:
    """What the tensors of a bundle take: graphs in their types, tables as stored. Shared ones count twice."""
    total = 0
    for spec in model.specs:
        module = model.module(spec.name)
        total += sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    return total + sum(4 * math.prod(shape) for shape in model.tables.values())


def installed_libraries() -> dict[str, str]:
    """Their versions; ONNX Runtime is in one of its two packages."""
    found = {name: machine.installed(name) for name in LIBRARIES}
    return {name: version for name, version in found.items() if version != machine.MISSING}


def code_hash() -> str:
    """Hash of the sources that decide what an export writes; a resumed export never mixes two versions."""
    digest = hashlib.sha256()
    for package in ("hyperseg_export", "hyperseg_runtime", "hyperseg_kernels"):
        root = Path(str(package_files(package)))
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()
