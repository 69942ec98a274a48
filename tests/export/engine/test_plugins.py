"""Our own operators in engines: plugins unless the body is asked for by name; counted, carried, refused where unfit."""

import json
import shutil
from pathlib import Path

import onnx
import pytest

from hyperseg_export.engine.build import build_engines
from hyperseg_export.engine.options import BuildOptions
from hyperseg_export.engine.plugins import PluginForm, form_of
from hyperseg_kernels import native
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, KERNELS
from hyperseg_kernels.cuda import nvrtc
from hyperseg_kernels.native import NativeBuildError
from hyperseg_runtime.backends.tensorrt import TensorRTBackend
from hyperseg_runtime.bundle.engines import EngineEntry, engine_folder
from hyperseg_runtime.bundle.opening import Bundle, read_manifest
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import AuditError, BundleError, EnvironmentMissingError, InputError, ParityError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec
from support import RunCli, family_bundle, forget_doubles

GRAPH, OTHER = "pixel_decoder", "lm_head"
TARGET = "sm90-trt11.4-test-gpu-80gb"
pytestmark = pytest.mark.usefixtures("tensorrt_double")


@pytest.fixture
def bundle(mixed_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mixed_bundle, tmp_path / "bundle"))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """What our C++ library registers, in the double's words."""
    path = tmp_path / "libhyperseg_plugins.so"
    path.write_text(f"{DEFORMABLE_ATTENTION}\n")
    return path


def built(bundle: Path, form: PluginForm = PluginForm.AHEAD_OF_TIME, plugins: tuple[Path, ...] = ()) -> EngineEntry:
    options = BuildOptions(plugins=form)
    entry = build_engines(bundle, options, [GRAPH], measure_parity=False, plugins=plugins).engine(GRAPH)
    assert entry is not None
    return entry


def opened(bundle: Path) -> None:
    entry = read_manifest(bundle).graph(GRAPH)
    with TensorRTBackend(Bundle.read(bundle), accept_unmeasured=True) as backend:
        backend.open(entry.spec, bundle / entry.file)


def nodes(bundle: Path) -> int:
    model = onnx.load(bundle / "graphs" / f"{GRAPH}.onnx", load_external_data=False)
    return sum(node.domain == DEFORMABLE_ATTENTION.domain for node in model.graph.node)


def test_plugins_are_the_default_and_nothing_ships_beside_them(bundle: Path, run_cli: RunCli) -> None:
    result = run_cli("build", bundle, "--graph", GRAPH, "--graph", OTHER, "--json")
    assert result.code == 0, result.err
    made = {entry["graph"]: entry for entry in json.loads(result.out)["engines"]}
    assert made[GRAPH]["plugin_layers"] == nodes(bundle) > 0
    assert made[GRAPH]["plugins"] == "ahead-of-time" and made[GRAPH]["libraries"] == {}
    assert made[OTHER]["plugins"] is None and made[OTHER]["plugin_layers"] == 0
    assert made[GRAPH]["parity"]
    forget_doubles()  # a process that has registered nothing
    opened(bundle)


def test_the_body_is_taken_by_name(bundle: Path, run_cli: RunCli) -> None:
    first = built(bundle)
    assert run_cli("build", bundle, "--graph", GRAPH, "--no-plugins", "--skip-parity").code == 0
    entry = built(bundle, PluginForm.BODY)
    assert entry.plugins == "body" and entry.plugin_layers == 0 and entry.key != first.key


def test_a_library_is_carried_beside_the_engine_and_loaded_before_it_is_read(bundle: Path, library: Path) -> None:
    entry = built(bundle, PluginForm.LIBRARY, (library,))
    assert entry.plugins == "library" and entry.plugin_layers == nodes(bundle)
    carried = engine_folder(bundle, TARGET) / "plugins" / library.name
    assert list(entry.libraries) == [library.name] and carried.read_bytes() == library.read_bytes()
    library.unlink()
    forget_doubles()
    for _ in range(2):
        opened(bundle)
    forget_doubles()
    with_list = json.loads((engine_folder(bundle, TARGET) / "engines.json").read_text())
    without = {**with_list, "engines": [{**with_list["engines"][0], "libraries": {}}]}
    (engine_folder(bundle, TARGET) / "engines.json").write_text(json.dumps(without))
    with pytest.raises(BundleError, match=rf"(?s)needs a plugin that is not there.*{DEFORMABLE_ATTENTION.name}"):
        opened(bundle)
    (engine_folder(bundle, TARGET) / "engines.json").write_text(json.dumps(with_list))
    carried.write_text("something else\n")
    with pytest.raises(BundleError, match=r"libhyperseg_plugins.so: missing or changed since it was built"):
        opened(bundle)


def test_a_library_that_lacks_the_operator_is_found_by_the_count(bundle: Path, library: Path) -> None:
    library.write_text("")
    with pytest.raises(AuditError, match=rf"0 plugin layers, planned were {nodes(bundle)} .*--no-plugins"):
        built(bundle, PluginForm.LIBRARY, (library,))


def test_a_body_in_the_place_of_a_plugin_is_found(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", "body instead")
    with pytest.raises(AuditError, match=rf"0 plugin layers, planned were {nodes(bundle)} .*--no-plugins"):
        built(bundle)


@pytest.mark.slow
def test_a_wrong_plugin_fails_parity_and_the_error_names_the_way_on(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOUBLE_FAULT", "wrong plugin")
    with pytest.raises(ParityError, match=r"(?s)pixel_decoder.*plugins.*build --graph pixel_decoder --no-plugins"):
        build_engines(bundle, BuildOptions(), [GRAPH])
    assert build_engines(bundle, BuildOptions(plugins=PluginForm.BODY), [GRAPH]).engine(GRAPH)


def test_without_the_compiler_of_kernels_nothing_is_written(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise native.NativeBuildError("NVRTC, the compiler of CUDA kernels, is missing: pip install nvidia-cuda-nvrtc")

    monkeypatch.setattr(nvrtc, "load", missing)
    with pytest.raises(EnvironmentMissingError, match=r"pip install nvidia-cuda-nvrtc.*--no-plugins"):
        built(bundle)
    assert not (bundle / "engines").exists()
    assert build_engines(bundle, BuildOptions(), [OTHER], measure_parity=False).engine(OTHER)  # needs no kernel


@pytest.mark.parametrize("option", ["hardware_compatible", "version_compatible"])
def test_kernels_for_one_gpu_are_refused_in_engines_for_several(bundle: Path, option: str) -> None:
    with pytest.raises(InputError, match=rf"{option.replace('_', '-')}.*pixel_decoder.*--no-plugins"):
        build_engines(bundle, BuildOptions(**{option: True}), [GRAPH])
    assert not (bundle / "engines").exists()


def test_a_library_and_no_plugins_contradict_each_other(bundle: Path, library: Path, run_cli: RunCli) -> None:
    result = run_cli("build", bundle, "--plugin", library, "--no-plugins")
    assert result.code == 2 and "--plugin or --no-plugins, not both" in result.err


@pytest.mark.parametrize("form", PluginForm)
@pytest.mark.parametrize(("family", "spec"), [(f, s) for f in FAMILIES.values() for s in f.graph_specs(f.published)])
def test_operators_that_no_plugin_knows_are_built_as_bodies(
    family: FamilySpec, spec: GraphSpec, form: PluginForm
) -> None:
    """Else products would stay in their bodies, and a build that holds no kernel would ask for their compiler."""
    known = any(str(kernel) in spec.custom_ops for kernel in KERNELS)
    assert form_of(spec, form) == (None if not spec.custom_ops else form if known else PluginForm.BODY)


@pytest.mark.slow
def test_hipie_needs_no_compiler_of_kernels(shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise NativeBuildError("no NVRTC")

    monkeypatch.setattr(nvrtc, "load", missing)
    bundle = Path(shutil.copytree(family_bundle(shared_dir, "hipie"), tmp_path / "hipie"))
    made = build_engines(bundle, BuildOptions(hardware_compatible=True), ["mask_dino"], measure_parity=False)
    entry = made.engine("mask_dino")
    assert entry is not None and entry.plugins == "body" and entry.plugin_layers == 0
