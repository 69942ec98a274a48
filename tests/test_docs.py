"""The documents cannot drift: what they show is run, what they list exists."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer

from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_runtime import errors
from hyperseg_runtime.cli.app import EXIT_CODES, make_app
from hyperseg_runtime.families import FAMILIES
from support import RunCli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("tensorrt_double")
def test_the_commands_of_the_readme_run(
    run_cli: RunCli, tiny_bundle: Path, tmp_path: Path, coffee: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With small models under the published ones' names, and doubles of TensorRT and the GPU."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bundle, "bundle")  # what the first line makes in a minute
    Path("other").mkdir()
    EXPORT_FAMILIES["unilseg"].random.write(Path("other"), "small", seed=0)
    next(Path("other").glob("*.pth")).rename("UniLSeg20_no_finetune.pth")
    Path("other/config.json").rename("config.json")
    shutil.copy(coffee, "photo.jpg")
    lines = [shlex.split(line, comments=True) for line in code_blocks("sh") if line.startswith("hyperseg-trt ")]
    assert [line[1] for line in lines] == [
        "export",
        "run",
        "chat",
        "export",
        "run",
        "build",
        "run",
        "serve",
        "serve",
        "client",
    ]
    assert lines[-2][1:3] == ["serve", "up"]  # it and the call to it are run by the tests of serving
    assert lines[0][1:] == ["export", "HyperSeg-3B", "bundle"]
    for _, *arguments in lines[1:-2]:
        result = run_cli(*arguments)
        assert result.code == 0, result.err
    assert Path("results/photo.jpg.mask-1.png").is_file()
    program = "\n".join(code_blocks("python"))
    exec(compile(program, "README.md", "exec"), {})


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    mentioned = {match for line in code_blocks("sh") for match in re.findall(r"^make ([a-z]+)", line)}
    assert {"demo", "test"} <= mentioned <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_verb_is_documented() -> None:
    shown = [line.split("`")[1] for line in README.splitlines() if line.startswith("| `")]
    for verb, about in verbs(make_app()):
        assert any(f"{entry} ".startswith(f"{verb} ") for entry in shown), verb
        assert about, verb


def test_exit_codes_are_those_of_the_errors() -> None:
    flat = " ".join(README.split())
    assert " ".join(EXIT_CODES.split()).removeprefix("Exit codes: ") in flat
    documented = {int(code) for code in re.findall(r"(\d+) [a-z]", EXIT_CODES)}
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.HypersegError)
    ]
    assert {error.exit_code for error in classes} <= documented
    drawn = errors.__doc__ or ""
    assert all(error.__name__ in drawn for error in classes)


def test_the_tree_exists_and_is_whole() -> None:
    """Every path of the README's tree, indentation as nesting; of packages every folder."""
    block = next(block for block in fenced("") if "export/hyperseg_export/" in block)
    shown: dict[Path, set[str]] = {}
    top = ROOT
    for line in block.strip("\n").splitlines():
        path = line.split()[0].rstrip("/")
        if line.startswith(" "):
            shown[top].add(path)
        else:
            top = ROOT / path
            shown[top] = set()
    assert all(folder.is_dir() for folder in shown)
    packages = {folder: names for folder, names in shown.items() if folder.name.startswith("hyperseg_")}
    assert len(packages) == 5
    assert packages == {folder: rooms(folder) for folder in packages}


def test_the_runtimes_rooms_are_listed() -> None:
    table = (ROOT / "runtime" / "README.md").read_text(encoding="utf-8").split("## Rooms")[1].split("##")[0]
    assert set(re.findall(r"^\| `(\w+)/` \|", table, re.M)) == rooms(ROOT / "runtime" / "hyperseg_runtime")


def rooms(package: Path) -> set[str]:
    return {folder.name for folder in package.iterdir() if folder.is_dir() and not folder.name.startswith(("_", "."))}


def test_constants_that_a_user_may_set_are_listed() -> None:
    text = (ROOT / "export" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(\w+)`", text[text.index("`config.json` may hold") :].split("\n\n")[0]))
    for folder in ("mask_queries", *EXPORT_FAMILIES):
        module = import_module(f"hyperseg_export.families.{folder}.config_json")
        if hasattr(module, "ReleaseConstants"):
            assert set(module.ReleaseConstants.model_fields) <= listed, folder


def test_links_lead_somewhere() -> None:
    for document in ROOT.glob("**/README.md"):
        if ".venv" in document.parts or "build" in document.parts:
            continue
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (document.parent / target).exists(), f"{document}: {target}"


def test_every_operator_and_benchmark_is_listed() -> None:
    catalog = import_module("hyperseg_kernels.catalog")
    kernels = (ROOT / "kernels" / "README.md").read_text()
    assert all(str(operator) in kernels for operator in catalog.OPERATORS)
    listed = (ROOT / "benchmarks" / "README.md").read_text()
    assert all(path.name in listed for path in (ROOT / "benchmarks").glob("*/bench_*.py"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("document", "size"), [("README.md", "full"), ("benchmarks/README.md", "tiny")])
def test_tables_show_the_stored_results(document: str, size: str, family: str) -> None:
    bench = import_module("bench_graphs")
    content = json.loads((ROOT / "benchmarks" / "results" / "graphs.json").read_text())
    assert bench.markdown(content, family, size) in (ROOT / document).read_text()


def test_the_requests_and_the_long_tests_show_the_stored_results() -> None:
    assert import_module("bench_requests").markdown() in README
    rows = json.loads((ROOT / "benchmarks" / "results" / "test_full.json").read_text())
    assert import_module("full_results").markdown(rows) in README
    assert rows and all(row.get("passed") and not row.get("failed") for row in rows)


def test_runs_of_bench_that_are_kept_are_shown() -> None:
    stored = import_module("stored")
    kept = [path.stem for path in stored.FOLDER.glob("*.json")]
    assert kept and all(stored.markdown(name) in (ROOT / "benchmarks" / "README.md").read_text() for name in kept)


def test_the_masks_that_agree_are_the_stored_result() -> None:
    content, shown = (
        json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text()) for name in ("agreement", "demo")
    )
    assert import_module("agreement").markdown() in README
    assert content["checkpoint_sha256"] == shown["checkpoint_sha256"]  # which its own test holds against the checkpoint
    assert content["scenes"] == import_module("agreement").HELD_OUT and not content["rivals"]["server"]["pixels"]


@pytest.mark.parametrize("script", ["bench_classes", "bench_video", "bench_quantised_requests"])
def test_tables_of_requests_show_the_stored_results(script: str) -> None:
    assert import_module(script).markdown() in (ROOT / "benchmarks" / "README.md").read_text()


def test_what_quantisation_costs_is_the_stored_result() -> None:
    assert import_module("quantise_tiny").markdown() in (ROOT / "docs" / "quantisation.md").read_text()


def test_the_cache_table_shows_the_stored_results() -> None:
    assert import_module("bench_llm").markdown() in README


def test_the_serving_tables_show_the_stored_results() -> None:
    bench = import_module("bench_serving")
    shown = (ROOT / "benchmarks" / "README.md").read_text()
    assert bench.markdown() in shown and bench.load_markdown() in shown
    assert import_module("bench_gateway").markdown() in shown
    sizes = [f"| `{row['graph']}` | {row['in_mb']:.1f} | {row['out_mb']:.1f} |" for row in bench.hops("hyperseg")]
    assert "\n".join(sizes) in (ROOT / "triton_repo" / "README.md").read_text()


def verbs(app: typer.Typer, prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Every verb with its docstring; those of a group with the group's name before them."""
    for command in app.registered_commands:
        yield prefix + (command.name or command.callback.__name__.replace("_", "-")), command.callback.__doc__
    for group in app.registered_groups:
        yield from verbs(group.typer_instance, f"{prefix}{group.name} ")


def code_blocks(language: str) -> list[str]:
    """Lines of all fenced blocks of one language in the README."""
    return [line for block in fenced(language) for line in block.splitlines()]


def fenced(language: str) -> list[str]:
    return [body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S) if kind == language]
