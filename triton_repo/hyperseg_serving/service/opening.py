"""Opening what the served models work with: the bundle, a backend, the service."""

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.backends.by_name import make_backend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import table_path
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.contracts.requests import Question
from hyperseg_runtime.errors import BundleError
from hyperseg_runtime.files.hashing import remembered_hash
from hyperseg_runtime.session.pipeline import Pipeline, family_of, require_runnable
from hyperseg_serving.contract import Limits
from hyperseg_serving.names import ModelNames
from hyperseg_serving.service import parameters as names
from hyperseg_serving.service.mask_stage import MaskStage
from hyperseg_serving.service.parameters import Parameters
from hyperseg_serving.service.service import Service
from hyperseg_serving.service.staged import StagedBackend, StageRunner

WARM_UP_SIDE_PX = 64


class StageCaller(Protocol):
    """A StageRunner that answers zeros, without calling anybody, while `warming_up`."""

    warming_up: bool

    def __call__(self, spec: GraphSpec, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]: ...


StageCallerOf = Callable[[ModelNames, Backend, Collection[str]], StageCaller]


def open_service(parameters: Parameters, limits: Limits, stage_caller: StageCallerOf) -> Service:
    """The public model's service, every graph run once.

    `stage_caller` makes what asks the stage models, from the models' names, the backend and the names of the tensors
    that only these models hand each other.
    """
    bundle = read_bundle(parameters)
    bundle.manifest.require_gated(names.ungated(parameters))
    backend = open_backend(bundle, parameters)
    caller: StageCaller | None = None
    if parameters[names.IMAGE_GRAPHS] == names.SERVED:
        internal = {tensor.name for spec in image_graphs(bundle) for tensor in spec.inputs}
        caller = stage_caller(ModelNames(family_of(bundle)), backend, internal)
    pipeline = _pipeline(bundle, backend, caller, limits.cache_bytes)
    warm_up(pipeline)
    if caller:
        caller.warming_up = False
    return Service(pipeline, limits, bundle_id(bundle))


def open_mask_stage(parameters: Parameters) -> MaskStage:
    """The ensemble's last step, every graph run once that it runs."""
    bundle = read_bundle(parameters)
    backend = open_backend(bundle, parameters)
    stage = MaskStage(_pipeline(bundle, backend, _runs_elsewhere, cache_bytes=0), backend, bundle_id(bundle))
    stage.warm_up((WARM_UP_SIDE_PX, WARM_UP_SIDE_PX))
    return stage


def open_image_inputs(parameters: Parameters) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """What the ensemble's first step makes of an image; see `FamilySpec.image_inputs`."""
    bundle = read_bundle(parameters)
    family = family_of(bundle)
    tables = map(table_path, family.tables(bundle.manifest.dimensions))
    return family.image_inputs(bundle.verified(names=(*tables, *family.files)))


def open_graph(parameters: Parameters) -> tuple[Graph, Backend]:
    """One graph of the bundle."""
    bundle = read_bundle(parameters)
    entry = bundle.manifest.graph(parameters[names.GRAPH])
    bundle.verified(names=(entry.file, *entry.data_files))
    backend = open_backend(bundle, parameters)
    return backend.open(entry.spec, bundle.path(entry.file)), backend


def warm_up(pipeline: Pipeline) -> None:
    """Run every graph as requests will: ask what the family says exercises them.

    Opens what is opened late, so that a bundle replaced later cannot mix with this one. The image is noise, and
    nothing is kept of it.
    """
    noise = np.random.default_rng().integers(0, 256, (WARM_UP_SIDE_PX, WARM_UP_SIDE_PX, 3), np.uint8)
    with pipeline.open(noise, keep=False) as session:
        for request in pipeline.family.warm_up:
            if isinstance(request, Question):
                session.ask(request).finished()
            else:
                session.run(request)


def _pipeline(bundle: Bundle, backend: Backend, image_graphs_run: StageRunner | None, cache_bytes: int) -> Pipeline:
    """On this backend; with `image_graphs_run` that runs the image graphs in its place."""
    require_runnable(bundle.manifest, backend)
    chosen = StagedBackend(backend, image_graphs_run) if image_graphs_run else backend
    return Pipeline(bundle.verified(hash_of=remembered_hash), chosen, cache_bytes)


def _runs_elsewhere(spec: GraphSpec, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
    raise AssertionError(f"{spec.name} is run by another model, whose outputs come with the request")


def image_graphs(bundle: Bundle) -> list[GraphSpec]:
    return [entry.spec for entry in bundle.manifest.graphs if entry.spec.reuse is Reuse.IMAGE]


def read_bundle(parameters: Parameters) -> Bundle:
    """The bundle that the environment names, its manifest alone read. BundleError if it names none, or if the
    repository was generated for another.
    """
    folder = os.environ.get(names.BUNDLE_VARIABLE)
    if not folder:
        raise BundleError(f"the variable {names.BUNDLE_VARIABLE} must name the bundle's folder")
    bundle = Bundle.read(folder)
    expected = parameters[names.CONTRACT]
    found = names.contract_id([entry.spec for entry in bundle.manifest.graphs])
    if found != expected:
        raise BundleError(
            f"the model repository was generated for graphs {expected}, the bundle holds {found}; "
            "generate it again: hyperseg-trt serve init BUNDLE --out REPOSITORY"
        )
    return bundle


def bundle_id(bundle: Bundle) -> str:
    """Start of a hash over the manifest, and so over all files."""
    return hashlib.sha256(bundle.manifest.to_bytes()).hexdigest()[:16]


def open_backend(bundle: Bundle, parameters: Parameters) -> Backend:
    """The configured backend, or the one in the environment, with the threads and operators that are named there.

    Raises InputError for unknown names, and for threads or operators that the backend does not take.
    """
    name = os.environ.get(names.BACKEND_VARIABLE) or parameters[names.BACKEND]
    threads = os.environ.get(names.THREADS_VARIABLE)
    libraries = filter(None, os.environ.get(names.OPERATORS_VARIABLE, "").split(os.pathsep))
    return make_backend(
        name,
        bundle,
        threads=int(threads) if threads else None,
        custom_op_libraries=tuple(map(Path, libraries)),
        accept_unmeasured=name == "tensorrt" and names.UNMEASURED in parameters,
    )
