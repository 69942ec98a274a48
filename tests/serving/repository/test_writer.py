"""The folder is written whole or not at all, and takes engines in."""

import json
import re
from pathlib import Path

import pytest

from hyperseg_runtime.bundle import engines as engine_files
from hyperseg_runtime.bundle.engines import EngineEntry, EngineManifest, Machine, source_hashes
from hyperseg_runtime.bundle.manifest import ParityEntry
from hyperseg_runtime.bundle.opening import describe_file, read_manifest
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import BundleError, InputError, OutputError
from hyperseg_serving.contract import Profile
from hyperseg_serving.repository import writer as repositories
from hyperseg_serving.repository.writer import EngineFiles, bundle_spec, published_spec, write_repository
from hyperseg_serving.server.command import plugin_libraries
from hyperseg_serving.service.parameters import unmeasured

PASSED = ParityEntry(graph="fvp", output="fvp_tokens", worst_error=0.0, tolerance=1.0, passed=True)
MACHINE = Machine(gpu="Fast One", compute_capability=(9, 0), memory_bytes=1, driver_cuda="13.0", tensorrt="11.4.0.106")
STAGES = ("image_encoder", "clip_encoder", "fvp", "pixel_decoder")


def add_engines(bundle: Path, **changes: object) -> Path:
    folder = bundle / "engines" / MACHINE.target
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    bundle_manifest = read_manifest(bundle)
    for graph in [entry.spec.name for entry in bundle_manifest.graphs]:
        path = folder / f"{graph}.plan"
        path.write_text(graph)
        profiles = ("throughput",) if graph == "fvp" else ("latency",)
        content = {
            "graph": graph,
            "key": "k",
            "sources": source_hashes(bundle_manifest, graph),
            "file": describe_file(path),
            "precision": Precision.FP32,
            "version_compatible": False,
            "hardware_compatible": False,
            "weight_streaming": False,
            "stripped": False,
            "profiles": profiles,
            "layer_types": {},
            "decomposed_attention": 0,
            "plugin_layers": 0,
            "build_seconds": 1.0,
            "parity": (PASSED,),
            **changes,
        }
        entries.append(EngineEntry.model_validate(content))
    manifest = EngineManifest(machine=MACHINE, engines=tuple(entries))
    (folder / engine_files.FILE_NAME).write_bytes(manifest.to_bytes())
    return folder


def test_engines_lie_beside_their_configuration(bundle_copy: Path, tmp_path: Path) -> None:
    add_engines(bundle_copy)
    spec, plans = bundle_spec(bundle_copy)
    models = write_repository(tmp_path / "out", spec, plans)
    for graph in STAGES:
        assert (tmp_path / "out" / f"hyperseg_{graph}" / "1" / "model.plan").read_text() == graph
    largest = {m.graph: m.configs[Profile.GPU].max_batch_size for m in models if m.graph}
    assert largest == {"image_encoder": 1, "clip_encoder": 1, "fvp": 8, "pixel_decoder": 1}


def test_engines_with_kernels_of_their_own_need_nothing_more(bundle_copy: Path, tmp_path: Path) -> None:
    add_engines(bundle_copy, plugins="ahead-of-time", plugin_layers=6)
    write_repository(tmp_path / "out", *bundle_spec(bundle_copy))
    assert plugin_libraries(tmp_path / "out") == []


def test_libraries_of_plugins_lie_beside_their_engines(bundle_copy: Path, tmp_path: Path) -> None:
    library = bundle_copy / "engines" / MACHINE.target / engine_files.PLUGINS / "libours.so"
    library.parent.mkdir(parents=True)
    library.write_text("plugins")
    libraries = {library.name: describe_file(library)}
    add_engines(bundle_copy, plugins="library", plugin_layers=6, libraries=libraries)
    write_repository(tmp_path / "out", *bundle_spec(bundle_copy))
    for graph in STAGES:
        assert (tmp_path / "out" / f"hyperseg_{graph}" / "1" / library.name).read_text() == "plugins"
    (loaded,) = plugin_libraries(tmp_path / "out")  # one of the four, which are the same
    assert loaded.name == library.name
    library.write_text("other code")
    with pytest.raises(BundleError, match=r"libours.so: missing or changed"):
        bundle_spec(bundle_copy)


def test_engines_of_several_targets_are_not_guessed(bundle_copy: Path) -> None:
    folder = add_engines(bundle_copy)
    folder.with_name("other").mkdir()
    with pytest.raises(InputError, match="--target"):
        bundle_spec(bundle_copy)
    assert bundle_spec(bundle_copy, folder.name)[1].keys() == set(STAGES)


def test_every_graph_needs_an_engine(bundle_copy: Path) -> None:
    path = add_engines(bundle_copy) / engine_files.FILE_NAME
    content = json.loads(path.read_text())
    content["engines"] = [entry for entry in content["engines"] if entry["graph"] != "llm"]
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="graph llm has no engine"):
        bundle_spec(bundle_copy)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"stripped": True}, InputError, "--stripped"),
        ({"version_compatible": True}, InputError, "--version-compatible"),
        ({"parity": None}, BundleError, "never compared"),
        ({"sources": {"graphs/old.onnx": "0"}}, BundleError, "other files"),
    ],
)
def test_engines_that_cannot_be_served(
    bundle_copy: Path, changes: dict[str, object], error: type[Exception], text: str
) -> None:
    add_engines(bundle_copy, **changes)
    with pytest.raises(error, match=text):
        bundle_spec(bundle_copy)


def test_engines_that_were_not_compared_are_served_by_name(bundle_copy: Path, tmp_path: Path) -> None:
    add_engines(bundle_copy, parity=None)
    spec, plans = bundle_spec(bundle_copy, accept_unmeasured=True)
    assert set(plans) == set(STAGES) and set(spec.unmeasured) >= {"llm", "fvp"}
    public = write_repository(tmp_path / "out", spec, plans)[0].configs[Profile.GPU]
    parameters = {name: value.string_value for name, value in public.parameters.items()}
    assert unmeasured(parameters) == list(spec.unmeasured)


def test_a_changed_engine_is_refused(bundle_copy: Path) -> None:
    (add_engines(bundle_copy) / "fvp.plan").write_text("other")
    with pytest.raises(BundleError, match=r"fvp\.plan"):
        bundle_spec(bundle_copy)


def test_a_repository_replaces_itself_but_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_repository(out, published_spec("hyperseg"))
    (out / "hyperseg" / "1" / "__pycache__").mkdir()
    (out / "hyperseg" / "1" / "__pycache__" / "model.pyc").touch()
    write_repository(out, published_spec("hyperseg"))
    for foreign in ("hyperseg/notes.txt", "README.md", "another/config.pbtxt"):
        (out / foreign).parent.mkdir(exist_ok=True)
        (out / foreign).touch()
        with pytest.raises(OutputError, match=re.escape(f"(out/{foreign.removesuffix('/config.pbtxt')})")):
            write_repository(out, published_spec("hyperseg"))
        (out / foreign).unlink()
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()
    with pytest.raises(OutputError, match="something else"):
        write_repository(other, published_spec("hyperseg"))
    with pytest.raises(OutputError, match="something else"):
        write_repository(other / "precious", published_spec("hyperseg"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_repository_is_written_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    write_repository(Path(), published_spec("hyperseg"))
    assert (tmp_path / "out" / "hyperseg" / "config.pbtxt").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write_repository(out, published_spec("hyperseg"))
    before = sorted(path.name for path in out.iterdir())

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(repositories, "_link_or_copy", fail)
    with pytest.raises(Exception, match="no room left"):
        write_repository(out, published_spec("hyperseg"), {"fvp": EngineFiles(tmp_path)})
    assert sorted(path.name for path in out.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_unknown_family() -> None:
    with pytest.raises(InputError, match="known are hyperseg"):
        published_spec("other")
