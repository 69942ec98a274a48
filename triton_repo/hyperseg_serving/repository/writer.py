"""The folder a server loads: one folder for each model, both profiles side by side.

MODEL/config.pbtxt          for a GPU, what a server reads unless told otherwise
MODEL/configs/cpu.pbtxt     for --model-config-name=cpu
MODEL/1/model.py            where Python runs it
MODEL/1/model.plan          the engine, where TensorRT runs it
MODEL/1/NAME.so             a library of plugins that the engine needs, if it needs one
"""

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from google.protobuf import text_format

from hyperseg_runtime.bundle.engines import (
    ENGINES,
    EngineEntry,
    engine_folder,
    engine_path,
    plugin_libraries,
    read_engines,
)
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import AxisRange
from hyperseg_runtime.errors import BundleError, InputError, OutputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.files.writing import explained, replace_folder
from hyperseg_runtime.session.pipeline import family_of
from hyperseg_serving.contract import BATCH, Profile
from hyperseg_serving.names import family_in
from hyperseg_serving.repository.config import RepositorySpec, ServedModel, served_models

VERSION = "1"
KEEP, PLAN, LIBRARY = ".gitkeep", "model.plan", ".so"


@dataclass(frozen=True)
class EngineFiles:
    """A plan, and the libraries of plugins that have to be loaded before it."""

    plan: Path
    libraries: tuple[Path, ...] = ()


def write_repository(
    out: Path, spec: RepositorySpec, engines: Mapping[str, EngineFiles] | None = None
) -> list[ServedModel]:
    """Write the whole repository or nothing. `engines` by graph are linked where that is possible.

    Raises OutputError where `out` holds something else.
    """
    out = out.absolute()  # "." has no name
    _require_replaceable(out)
    models = served_models(spec)
    partial = out.with_name(f".{out.name}.partial")
    with explained(out):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            for model in models:
                _write_model(partial / model.name, model, (engines or {}).get(model.graph or ""))
            replace_folder(partial, out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return models


def _require_replaceable(out: Path) -> None:
    """A repository that this program wrote is replaced whole; what else lies there, or in its models, is not lost."""
    with explained(out):
        found = sorted(out.iterdir()) if out.is_dir() else [out] if os.path.lexists(out) else []
        family = family_in(out) if out.is_dir() else None
        other = [file for path in found for file in ([path] if family is None else _foreign(path, family.name))]
    if other:
        shown = ", ".join(str(path.relative_to(out.parent)) for path in other[:5])
        raise OutputError(f"{out}: holds something else than a model repository ({shown}); choose another folder")


WRITTEN = ("config.pbtxt", f"configs/{Profile.CPU}.pbtxt", *(f"{VERSION}/{file}" for file in ("model.py", PLAN, KEEP)))
"""What `_write_model` writes into a model's folder, beside libraries of plugins."""


def _foreign(path: Path, family: str) -> list[Path]:
    """Files of an entry of a repository that `_write_model` does not write; Python's own caches are nobody's."""
    named = path.name == family or path.name.startswith(f"{family}_")
    if not (named and path.is_dir()):
        return [path]
    files = [file for file in path.rglob("*") if not file.is_dir() and file.suffix != ".pyc"]
    return [file for file in files if not _written(file.relative_to(path))]


def _written(file: Path) -> bool:
    library = file.parent == Path(VERSION) and file.suffix == LIBRARY
    return library or file.as_posix() in WRITTEN


def _write_model(folder: Path, model: ServedModel, engine: EngineFiles | None) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    gpu, cpu = model.configs[Profile.GPU], model.configs[Profile.CPU]
    (folder / "config.pbtxt").write_text(text_format.MessageToString(gpu))
    if cpu != gpu:
        (folder / "configs").mkdir()
        (folder / "configs" / f"{Profile.CPU}.pbtxt").write_text(text_format.MessageToString(cpu))
    if model.source:
        (version / "model.py").write_text(files("hyperseg_serving").joinpath("models", model.source).read_text())
    else:
        (version / KEEP).touch()  # the server wants the folder, and git keeps none that is empty
    if engine:
        _link_or_copy(engine.plan, version / PLAN)
        for library in engine.libraries:
            _link_or_copy(library, version / library.name)


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link; a link by name would lead out of the folder that a container sees."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def published_spec(family: str) -> RepositorySpec:
    """What to generate for a family at the published sizes, in float32 and for engines of full batches."""
    if family not in FAMILIES:
        raise InputError(f"unknown family {family!r}; known are {', '.join(FAMILIES)}")
    return RepositorySpec(FAMILIES[family], FAMILIES[family].graph_specs(FAMILIES[family].published))


def bundle_spec(
    directory: Path,
    target: str | None = None,
    accept_unmeasured: bool = False,
    accept_ungated: Collection[str] = (),
) -> tuple[RepositorySpec, dict[str, EngineFiles]]:
    """What to generate for a bundle, and its engines by graph: those of `target`, or of the only one there is.

    Raises InputError if there are engines for several targets and none is named, or for one that cannot be served;
    BundleError if one is missing, changed, or was never compared with its graph; with `accept_unmeasured` such engines
    are served, and the models say which they are. Quantised graphs that passed no task metric raise it too, unless they
    are named in `accept_ungated`.
    """
    bundle = Bundle.open(directory)
    bundle.manifest.require_gated(accept_ungated)
    spec = RepositorySpec(family_of(bundle), [entry.spec for entry in bundle.manifest.graphs])
    if not bundle.manifest.is_gated:
        spec = replace(spec, ungated=tuple(bundle.manifest.rounded_graphs()))
    folder = _engines_of(bundle, target)
    engines = read_engines(folder) if folder else None
    if folder is None or engines is None:
        return spec, {}
    usable = {graph.name: engines.usable(graph.name, accept_unmeasured) for graph in spec.graphs}
    entries = [usable[graph.name] for graph in spec.stages]
    for entry in entries:
        _check_servable(entry, bundle)
    batches = {e.graph: _largest_batch(e, g.axis_ranges[BATCH]) for e, g in zip(entries, spec.stages, strict=True)}
    found = {e.graph: EngineFiles(engine_path(folder, e), tuple(plugin_libraries(folder, e))) for e in entries}
    unmeasured = tuple(name for name, entry in usable.items() if entry.parity is None)
    return replace(spec, engine_batch=batches, unmeasured=unmeasured), found


def _check_servable(entry: EngineEntry, bundle: Bundle) -> None:
    """Refuse an engine that the server's own TensorRT backend cannot run, or would run with other weights."""
    changed = entry.changed_files(bundle.manifest)
    if changed:
        raise BundleError(
            f"the engine of {entry.graph} was built from other files than the bundle has now "
            f"({', '.join(sorted(changed))} changed); run: hyperseg-trt build {bundle.directory}"
        )
    if entry.stripped:
        raise InputError(
            f"the engine of {entry.graph} was built with --stripped: it has no weights, and the server reads the plan "
            "alone; build it again without"
        )
    if entry.version_compatible:
        raise InputError(
            f"the engine of {entry.graph} was built with --version-compatible: it brings code of its own, which the "
            "server runs only when told to trust every plan; build it again without"
        )


def _engines_of(bundle: Bundle, target: str | None) -> Path | None:
    if target:
        return engine_folder(bundle.directory, target)
    found = sorted(path for path in (bundle.directory / ENGINES).glob("*") if path.is_dir())
    if len(found) > 1:
        raise InputError(f"the bundle has engines for {', '.join(p.name for p in found)}; choose one with --target")
    return found[0] if found else None


def _largest_batch(entry: EngineEntry, batch: AxisRange) -> int:
    """Engines are tuned for one image at a time, except those of the throughput preset."""
    return batch.maximum if "throughput" in entry.profiles else batch.minimum
