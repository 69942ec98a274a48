"""`hyperseg-trt lora` as a user calls it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from hyperseg_export.checkpoint.lora import AdapterFolder
from support import RunCli


def test_list_shows_the_slots(run_cli: RunCli, kept_bundle: Path, adapters: Path) -> None:
    result = run_cli("lora", "list", kept_bundle)
    assert result.code == 0, result.err
    assert f"sha256 {AdapterFolder.open(adapters / 'first').sha256[:16]}..., kept apart: in 4 of 4 slots" in result.out
    rows = [line.split() for line in result.out.splitlines() if line.startswith("model.")]
    assert rows == [
        ["model.layers.{i}.self_attn.q_proj.weight", "2", "80", "80", "4", "4"],
        ["model.layers.{i}.self_attn.v_proj.weight", "2", "80", "80", "4", "4"],
    ]
    content = json.loads(run_cli("lora", "list", kept_bundle, "--json").out)
    manifest = json.loads((kept_bundle / "manifest.json").read_text())
    assert content == {
        "adapter_sha256": manifest["provenance"]["adapter_sha256"],
        "adapter": manifest["adapter"],
    }


def test_list_says_where_there_are_none(run_cli: RunCli, merged_bundle: Path, tiny_bundle: Path) -> None:
    assert "merged into the weights" in run_cli("lora", "list", merged_bundle).out
    result = run_cli("lora", "list", tiny_bundle)
    assert (result.code, result.out.split()) == (0, ["adapter", "none"])
    empty = {"adapter_sha256": None, "adapter": None}
    assert json.loads(run_cli("lora", "list", tiny_bundle, "--json").out) == empty


def test_swap_replaces(
    run_cli: RunCli, small_checkpoint: Path, kept_bundle: Path, adapters: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(kept_bundle, tmp_path / "bundle"))
    result = run_cli("lora", "swap", bundle, adapters / "low")
    assert result.code == 0, result.err
    assert "in 1 of 4 slots" in result.out and "Parity: not measured" in result.out
    assert "in 1 of 4 slots" in run_cli("inspect", bundle).out
    result = run_cli("lora", "swap", bundle, adapters / "second", "--checkpoint", small_checkpoint, "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    assert content["adapter_sha256"] == AdapterFolder.open(adapters / "second").sha256
    assert len(content["adapter"]["slots"]) == 4
    assert content["parity"] and all(entry["passed"] for entry in content["parity"])
    verified = run_cli("verify", bundle, "--checkpoint", small_checkpoint, "--adapter", adapters / "second", "--json")
    assert verified.code == 0, verified.err
    assert json.loads(verified.out)["parity"] == content["parity"]


def test_an_adapter_is_kept_apart_in_float32_only(
    run_cli: RunCli, small_checkpoint: Path, adapters: Path, tmp_path: Path
) -> None:
    options = ("--adapter", adapters / "first", "--keep-adapter", "--precision", "mixed")
    result = run_cli("export", small_checkpoint, tmp_path / "bundle", *options)
    assert result.code == 2 and "--keep-adapter keeps float32 factors" in result.err
    assert not list(tmp_path.iterdir())


def test_merge_reports_the_rounding(run_cli: RunCli, small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    result = run_cli("lora", "merge", small_checkpoint, out, "--adapter", adapters / "first")
    assert result.code == 0, result.err
    assert str(out) in result.out and "float16" in result.out
    assert run_cli("lora", "merge", small_checkpoint, out, "--adapter", adapters / "first").code == 2
    options = ("--adapter", adapters / "low", "--overwrite", "--json")
    content = json.loads(run_cli("lora", "merge", small_checkpoint, out, *options).out)
    assert [row["weight"] for row in content["merged"]] == ["model.layers.1.self_attn.v_proj.weight"]
    assert content["merged"][0]["rank"] == 2 and 0 < content["merged"][0]["worst_error"] < 2**-11


def test_bad_input_has_its_exit_code(
    run_cli: RunCli, kept_bundle: Path, merged_bundle: Path, small_checkpoint: Path, adapters: Path, tmp_path: Path
) -> None:
    cases = {
        "room for rank 4": ("swap", kept_bundle, adapters / "high"),
        "has no slot": ("swap", kept_bundle, adapters / "other"),
        "keeps no adapter apart": ("swap", merged_bundle, adapters / "first"),
        "no adapter was found to merge": ("merge", small_checkpoint, tmp_path / "x"),
        "Missing argument": ("swap", kept_bundle),
    }
    for message, arguments in cases.items():
        result = run_cli("lora", *arguments)
        assert (result.code, result.out) == (2, "") and message in result.err, message
    assert run_cli("export", small_checkpoint, tmp_path / "x", "--keep-adapter").code == 2
    broken = Path(shutil.copytree(kept_bundle, tmp_path / "broken"))
    (broken / "graphs" / "llm.adapter.data").unlink()
    assert run_cli("lora", "swap", broken, adapters / "first").code == 6
    assert run_cli("lora", "list", tmp_path / "nothing").code == 6
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_list_needs_no_exporter_package(kept_bundle: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; from hyperseg_runtime.cli.app import main; main()"
    arguments = [sys.executable, "-c", program, "lora", "list", str(kept_bundle)]
    assert "q_proj" in subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
