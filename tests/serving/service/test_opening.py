"""Each served model checks what it opens, and no more."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import table_path
from hyperseg_runtime.errors import BundleError, InputError
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_runtime.session.pipeline import family_of
from hyperseg_serving.service import parameters as names
from hyperseg_serving.service.opening import open_backend, open_graph, open_image_inputs, read_bundle
from hyperseg_serving.service.parameters import contract_id


@pytest.fixture
def parameters(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv(names.BUNDLE_VARIABLE, str(bundle_copy))
    graphs = [entry.spec for entry in Bundle.read(bundle_copy).manifest.graphs]
    return {names.CONTRACT: contract_id(graphs), names.BACKEND: "onnxruntime", names.GRAPH: "fvp"}


@pytest.fixture
def family(bundle_copy: Path) -> FamilySpec:
    return family_of(Bundle.read(bundle_copy))


@pytest.fixture
def change(bundle_copy: Path) -> Callable[[str], None]:
    """Turn one bit of a file."""

    def turn(name: str) -> None:
        data = bytearray((bundle_copy / name).read_bytes())
        data[-1] ^= 1
        (bundle_copy / name).write_bytes(data)

    return turn


def test_image_inputs_need_no_graph(parameters: dict[str, str], change: Callable[[str], None]) -> None:
    change("graphs/fvp.onnx")
    assert open_image_inputs(parameters)(np.zeros((40, 30, 3), np.uint8))


def test_a_table_that_was_changed_is_refused(
    parameters: dict[str, str], family: FamilySpec, change: Callable[[str], None], bundle_copy: Path
) -> None:
    for name in (*map(table_path, family.tables(Bundle.read(bundle_copy).manifest.dimensions)), *family.files):
        change(name)
        with pytest.raises(BundleError, match=name):
            open_image_inputs(parameters)
        change(name)
    assert open_image_inputs(parameters)


def test_a_graph_needs_its_own_files_alone(parameters: dict[str, str], change: Callable[[str], None]) -> None:
    change("graphs/llm.onnx")
    graph, backend = open_graph(parameters)
    assert graph.spec.name == "fvp"
    backend.close()
    change("graphs/fvp.onnx")
    with pytest.raises(BundleError, match=r"graphs/fvp\.onnx"):
        open_graph(parameters)


def test_a_repository_for_another_bundle(parameters: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match="serve init"):
        read_bundle({**parameters, names.CONTRACT: "other"})
    monkeypatch.delenv(names.BUNDLE_VARIABLE)
    with pytest.raises(BundleError, match=names.BUNDLE_VARIABLE):
        read_bundle(parameters)


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime-cuda"])
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (names.THREADS_VARIABLE, "4", "threads goes with"),
        (names.OPERATORS_VARIABLE, "a.so", "custom_op_libraries goes"),
    ],
)
def test_settings_of_another_backend_are_refused(
    parameters: dict[str, str],
    bundle_copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    variable: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=said):
        open_backend(Bundle.read(bundle_copy), {**parameters, names.BACKEND: backend, names.UNMEASURED: "fvp"})


def test_threads_reach_every_backend_that_takes_them(
    parameters: dict[str, str], bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.THREADS_VARIABLE, "3")
    given: dict[str, dict[str, object]] = {}
    monkeypatch.setattr(
        "hyperseg_serving.service.opening.make_backend", lambda name, bundle, **options: given.update({name: options})
    )
    for name in ("onnxruntime", "openvino"):
        open_backend(Bundle.read(bundle_copy), {**parameters, names.BACKEND: name, names.UNMEASURED: "fvp"})
        assert given[name] == {"threads": 3, "custom_op_libraries": (), "accept_unmeasured": False}
