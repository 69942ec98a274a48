"""Fixtures about bundles: the tiny bundle opened, the trained one, the real tokenizer; the local server."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.manifest import FILE_NAME
from hyperseg_runtime.bundle.opening import Bundle, describe_file
from hyperseg_runtime.errors import EnvironmentMissingError
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer
from hyperseg_runtime.session.pipeline import OpenedGraphs, Pipeline
from hyperseg_serving.server.distribution import Distribution, find_distribution
from support import made_once, phi_tokenizer

CLASS_SCORES, SURE = "class_score.project.layers.1.", -100.0
"""Of its sign random weights know nothing; with this one they find objects."""


@pytest.fixture(scope="session")
def backend() -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(threads=1)


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="session")
def graphs(bundle: Bundle, backend: OnnxRuntimeBackend) -> OpenedGraphs:
    return OpenedGraphs(bundle, backend)


@pytest.fixture(scope="session")
def tokenizer(tiny_bundle: Path) -> Tokenizer:
    return Tokenizer(tiny_bundle / TOKENIZER_FILE)


@pytest.fixture(scope="session")
def pipeline(tiny_bundle: Path) -> Iterator[Pipeline]:
    """One that remembers no image: every call computes everything."""
    with Pipeline.load(tiny_bundle, threads=1, cache_bytes=0) as opened:
        yield opened


@pytest.fixture(scope="session")
def trained_bundle(shared_dir: Path) -> Path:
    """The bundle of the trained checkpoint, whose masks can be right or wrong; read only."""
    from hyperseg_export.export import ExportOptions, export_bundle
    from hyperseg_export.samples import trained_checkpoint

    options = ExportOptions(measure_parity=False)
    return made_once(shared_dir / "trained", lambda folder: export_bundle(trained_checkpoint(), folder, options))


@pytest.fixture(scope="session")
def certain_bundle(shared_dir: Path, tiny_bundle: Path) -> Path:
    """The tiny bundle with scores of classes that are all but 0 or 1: it finds objects of a list, as random weights do
    not; read only.
    """

    def make(folder: Path) -> None:
        shutil.copytree(tiny_bundle, folder)
        path = folder / "graphs" / "mask_decoder.onnx"
        graph = onnx.load(path)  # with its data: what is not small lies in a file beside it
        for tensor in graph.graph.initializer:
            if tensor.name.startswith(CLASS_SCORES):
                tensor.raw_data = (SURE * numpy_helper.to_array(tensor)).tobytes()
        data = path.with_suffix(".data").name
        (folder / "graphs" / data).unlink()
        onnx.save(graph, path, save_as_external_data=True, location=data)
        for name in (f"graphs/{path.name}", f"graphs/{data}"):
            describe_anew(folder, name)

    return made_once(shared_dir / "certain", make)


def describe_anew(bundle: Path, name: str) -> None:
    """Enter the present size and hash of a file of `bundle` into its manifest."""
    path = bundle / FILE_NAME
    content = json.loads(path.read_bytes())
    content["files"][name] = describe_file(bundle / name).model_dump()
    path.write_text(json.dumps(content))


@pytest.fixture
def rehash(bundle_copy: Path) -> Callable[[str], None]:
    """Enter the present size and hash of a file of `bundle_copy` into its manifest."""

    return partial(describe_anew, bundle_copy)


@pytest.fixture(scope="session")
def real_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The tokenizer of HyperSeg-3B."""
    return phi_tokenizer(tmp_path_factory.mktemp("tokenizer"), "[SEG]")


@pytest.fixture(scope="session")
def distribution() -> Distribution:
    """The local server; `make test` installs it."""
    try:
        found = find_distribution()
    except EnvironmentMissingError as error:
        pytest.skip(str(error))
    if not found.is_local:
        pytest.skip("these tests know the messages of the local server, and there is another one on the path")
    return found
