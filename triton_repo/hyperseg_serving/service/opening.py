"""Opening what the served models work with: the bundle, a backend, the service."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.backends.by_name import make_backend
from hyperseg_runtime.bundle.manifest import FILE_NAME, Manifest
from hyperseg_runtime.bundle.opening import Bundle, hash_file, read_manifest
from hyperseg_runtime.bundle.tables import TABLES, table_path
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.errors import BundleError
from hyperseg_runtime.session.pipeline import Pipeline, family_of
from hyperseg_serving.contract import Limits
from hyperseg_serving.service.mask_stage import MaskStage
from hyperseg_serving.service.requests import MaskRequest
from hyperseg_serving.service.service import Service
from hyperseg_serving.service.staged import HandedOver, StagedBackend

BUNDLE_VARIABLE = "HYPERSEG_BUNDLE"
"""Where the bundle lies on the machine that serves; the generated files name no path."""
BACKEND_VARIABLE = "HYPERSEG_BACKEND"
"""Another backend than the configuration's for the graphs that the Python models run themselves."""
THREADS_VARIABLE = "HYPERSEG_THREADS"
"""CPU threads of one graph; default: all cores."""
OPERATORS_VARIABLE = "HYPERSEG_OPERATORS"
"""Libraries of our native operators for ONNX Runtime, separated like a path; default: none."""

CONTRACT, BACKEND, IMAGE_GRAPHS, GRAPH = "contract", "backend", "image_graphs", "graph"
"""Names of parameters in the models' configurations, beside those of `Limits`."""
IN_PROCESS, SERVED = "in-process", "served"
"""Values of IMAGE_GRAPHS: the public model runs them itself, or asks the stage models."""

Parameters = Mapping[str, str]
REHEARSAL_SIDE_PX = 64
REHEARSED_TEXT = "the object"


def open_service(
    parameters: Parameters, limits: Limits, served: Callable[[Backend, Collection[str]], "StageCaller"]
) -> Service:
    """The public model's service, every graph run once.

    `served` makes what calls the stage models, from the backend and the names of what they hand each other.
    """
    inner = open_backend(parameters[BACKEND])
    if parameters[IMAGE_GRAPHS] == IN_PROCESS:
        pipeline = _open_pipeline(parameters, inner, limits.cache_bytes)
        rehearse(pipeline)
    else:
        specs = _image_graphs(read_manifest(bundle_folder()))
        runner = served(inner, {tensor.name for spec in specs for tensor in spec.inputs})
        pipeline = _open_pipeline(parameters, StagedBackend(inner, runner), limits.cache_bytes)
        rehearse(pipeline)
        runner.rehearsing = False
    return Service(pipeline, limits, bundle_id(bundle_folder()))


def _image_graphs(manifest: Manifest) -> list[GraphSpec]:
    return [entry.spec for entry in manifest.graphs if entry.spec.reuse is Reuse.IMAGE]


class StageCaller(Protocol):
    """A StageRunner that answers zeros, without calling anybody, while `rehearsing`."""

    rehearsing: bool

    def __call__(self, spec: GraphSpec, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]: ...


def open_mask_stage(parameters: Parameters) -> MaskStage:
    """The ensemble's last step, every graph run once."""
    inner = open_backend(parameters[BACKEND])
    given = HandedOver(inner)
    pipeline = _open_pipeline(parameters, StagedBackend(inner, given), cache_bytes=0)
    stage = MaskStage(pipeline, given, bundle_id(bundle_folder()))
    outputs = [tensor for spec in _image_graphs(pipeline.bundle.manifest) for tensor in spec.outputs]
    zeros = {tensor.name: np.zeros((1, *map(int, tensor.axes[1:])), np.float32) for tensor in outputs}
    stage.respond(MaskRequest(zeros, (REHEARSAL_SIDE_PX, REHEARSAL_SIDE_PX), (REHEARSED_TEXT,)))
    return stage


def open_image_inputs(parameters: Parameters) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """What the ensemble's first step makes of an image; see `FamilySpec.image_inputs`."""
    bundle = _partly_verified(parameters, lambda manifest: map(table_path, TABLES))
    return family_of(bundle).image_inputs(bundle)


def _open_pipeline(parameters: Parameters, backend: Backend, cache_bytes: int) -> Pipeline:
    pipeline = Pipeline.load(bundle_folder(), backend, cache_bytes=cache_bytes)
    check_contract(pipeline.bundle.manifest, parameters[CONTRACT])
    return pipeline


def open_graph(parameters: Parameters) -> tuple[Graph, Backend]:
    """One graph of the bundle."""

    def files(manifest: Manifest) -> Iterable[str]:
        entry = manifest.graph(parameters[GRAPH])
        return entry.file, *entry.data_files

    bundle = _partly_verified(parameters, files)
    entry = bundle.manifest.graph(parameters[GRAPH])
    backend = open_backend(parameters[BACKEND])
    return backend.open(entry.spec, bundle.path(entry.file)), backend


def _partly_verified(parameters: Parameters, files: Callable[[Manifest], Iterable[str]]) -> Bundle:
    """The bundle, with only these files' hashes compared: several processes open it, and it may be large."""
    folder = bundle_folder()
    bundle = Bundle(folder, read_manifest(folder))
    check_contract(bundle.manifest, parameters[CONTRACT])
    for name in files(bundle.manifest):
        if hash_file(bundle.path(name)) != bundle.manifest.files[name].sha256:
            raise BundleError(f"{name} was changed after the export")
    return bundle


def rehearse(pipeline: Pipeline) -> None:
    """Run every graph as requests will: whole prompt, suffix on a known image, single tokens.

    Opens what is opened late, so that a bundle replaced later cannot mix with this one. The image is noise of
    its own: no request can meet what is kept of it.
    """
    noise = np.random.default_rng().integers(0, 256, (REHEARSAL_SIDE_PX, REHEARSAL_SIDE_PX, 3), np.uint8)
    with pipeline.open(noise) as session:
        session.segment(REHEARSED_TEXT)
        session.segment(f"{REHEARSED_TEXT} on the left")
        session.ask("What is there?", max_tokens=2).finished()


def contract_id(specs: Sequence[GraphSpec]) -> str:
    """Equal for bundles that one repository fits."""
    digest = hashlib.sha256()
    for spec in specs:
        digest.update(spec.model_dump_json().encode() + b"\0")
    return digest.hexdigest()[:16]


def bundle_id(folder: Path) -> str:
    """Start of the hash over the manifest, and so over all files."""
    return hash_file(folder / FILE_NAME)[:16]


def bundle_folder() -> Path:
    """The bundle to serve. Raises BundleError if the environment names none."""
    folder = os.environ.get(BUNDLE_VARIABLE)
    if not folder:
        raise BundleError(f"the variable {BUNDLE_VARIABLE} must name the bundle's folder")
    return Path(folder)


def check_contract(manifest: Manifest, expected: str) -> None:
    """BundleError unless the repository was generated for such a bundle."""
    found = contract_id([entry.spec for entry in manifest.graphs])
    if found != expected:
        raise BundleError(
            f"the model repository was generated for graphs {expected}, the bundle holds {found}; "
            "generate it again: hyperseg-trt serve init BUNDLE --out REPOSITORY"
        )


def open_backend(configured: str) -> Backend:
    """The backend of this name, or of the one in the environment. Raises InputError for unknown names."""
    name = os.environ.get(BACKEND_VARIABLE) or configured
    if name != "onnxruntime":
        return make_backend(name, bundle_folder())
    threads = os.environ.get(THREADS_VARIABLE)
    libraries = filter(None, os.environ.get(OPERATORS_VARIABLE, "").split(os.pathsep))
    return make_backend(name, bundle_folder(), int(threads) if threads else None, list(map(Path, libraries)))
