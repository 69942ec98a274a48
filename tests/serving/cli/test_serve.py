"""`serve` and `client` without a server: what is written, and what wrong use gets told."""

import json
from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.contracts.results import encode_png
from hyperseg_runtime.files.results import ResultFolder
from support import RunCli

FRAMES = str(Path(__file__).parents[2] / "cases" / "files" / "frames_mac")


def test_init_writes_a_repository(run_cli: RunCli, tiny_bundle: Path, tmp_path: Path) -> None:
    result = run_cli("serve", "init", tiny_bundle, "--out", tmp_path / "repository", "--limit", "max_queue=7", "--json")
    assert result.code == 0, result.err
    assert "hyperseg_referring" in json.loads(result.out)["models"]
    assert (tmp_path / "repository" / "hyperseg" / "1" / "model.py").is_file()
    assert "max_queue_size: 7" in (tmp_path / "repository" / "hyperseg_masks" / "config.pbtxt").read_text()
    shown = run_cli("serve", "init", tiny_bundle, "--out", tmp_path / "repository")
    assert "No engines" in shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["serve", "init"], 2, "either BUNDLE or --published"),
        (["serve", "init", "--published", "other"], 2, "known are hyperseg"),
        (
            ["serve", "init", "--published", "psalm", "--target", "a"],
            2,
            "--target: a setting of the graphs and engines",
        ),
        (["serve", "init", "no-bundle"], 6, "no such folder"),
        (["serve", "up", "none", "none"], 6, "no such folder"),
        (["serve", "up", "none", "none", "--http-port", "70000"], 2, "Invalid value for '--http-port'"),
        (["serve", "up", "none", "none", "--grpc-port", "-1"], 2, "Invalid value for '--grpc-port'"),
        (["serve", "up", "none", "none", "--metrics-port", "65536"], 2, "Invalid value for '--metrics-port'"),
        (["client", "segment", "none.jpg", "a"], 2, "No such file"),
        (["client", "segment", "none.jpg", __file__], 2, "is a file, expected a text"),
        (["client", "ask", "none.jpg", __file__], 2, "is a file, expected a text"),
        (["client", "video", "none", "a"], 2, "no such file or folder"),
        (["client", "health", "--live", "--ready"], 2, "choose one of"),
        (["client", "health", "--live", "--url", "http://127.0.0.1:1"], 10, "no answer"),
        (["client", "segment", __file__, "a", "--url", "nowhere"], 2, "is no address"),
        (["client", "segment", __file__, "a", "--url", "http://host:abc"], 2, "is no address"),
        (["client", "ask", "a", "--url", "http://host:70000"], 2, "is no address"),
        (["client", "video", FRAMES, "a", "--url", "grpc://host:abc"], 2, "is no address"),
        (["client", "health", "--url", "http://host:abc"], 2, "is no address"),
        (["client", "health", "--live", "--url", "http://"], 2, "is no address"),
        (["client", "segment", __file__], 2, "--mask), got nothing"),
        (["client", "segment", __file__, "a", "--box", "1,2,3,4"], 2, "--mask), got both"),
        (["client", "segment", __file__, "--point", "1,b"], 2, "--point 1,b: expected X,Y"),
        (["client", "segment", __file__, "--point", "1,2", "--classes"], 2, "takes the names of classes"),
        (["client", "video", __file__, "a", "--box", "1,2,3,4"], 2, "got both"),
        (["client", "segment", __file__, "a", "--url", "http://127.0.0.1:1"], 10, "no answer"),
        (["client", "ask", "a", "b", "c"], 2, "into quotes"),
        (["client", "video", FRAMES, "a", "--url", "http://127.0.0.1:1"], 2, "grpc"),
        (["client", "health", "--url", "http://127.0.0.1:1"], 10, "no answer"),
        (["client", "health", "--url", "grpc://127.0.0.1:1"], 2, "http://"),
    ],
)
def test_wrong_use(
    arguments: list[str], code: int, text: str, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_cli(*arguments)
    assert result.code == code, result.err
    assert text in result.err and "Traceback" not in result.err


def test_a_result_is_no_input(run_cli: RunCli, tmp_path: Path) -> None:
    own = ResultFolder(tmp_path).write("a.png.mask.png", encode_png(np.zeros((2, 2), np.bool_)), "a.png")
    result = run_cli("client", "segment", own, "a")
    assert result.code == 2 and "is a result that this program wrote" in result.err


def test_up_with_what_is_not_there(
    run_cli: RunCli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSEG_TRITON", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    result = run_cli("serve", "up", tmp_path, tiny_bundle, "--profile", "tpu")
    assert result.code == 2 and "choose gpu, cpu" in result.err
    result = run_cli("serve", "up", tmp_path, tiny_bundle, "--profile", "cpu")
    assert result.code == 3
    assert "install-local" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "cpu", "--requests-per-minute", "60"], "--requests-per-minute: a setting of the gateway"),
        (["--profile", "cpu", "--keys", "keys"], "--keys: a setting of the gateway; add --gateway"),
        (
            ["--profile", "cpu", "--no-gateway", "--host", "0.0.0.0", "--tls", "a", "b"],
            "--tls: a setting of the gateway",
        ),
        (["--threads", "4"], "--threads: a setting of ONNX Runtime on a CPU; add --profile cpu"),
        (["--profile", "cpu", "--gateway", "--http-port", "65500"], "--http-port 65500: the server behind a gateway"),
        (["--native", "--threads", "4"], "--threads, --native: settings of ONNX Runtime on a CPU; add --profile cpu"),
    ],
)
def test_up_refuses_settings_that_nothing_would_heed(
    arguments: list[str], said: str, run_cli: RunCli, tiny_bundle: Path, tmp_path: Path
) -> None:
    result = run_cli("serve", "up", tmp_path, tiny_bundle, *arguments)
    assert result.code == 2 and said in " ".join(result.err.split())


def test_up_refuses_keys_of_the_environment_without_a_gateway(
    run_cli: RunCli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would let everybody in whom they are meant to keep out."""
    key = "0123456789abcdef"
    monkeypatch.setenv("HYPERSEG_KEYS", f"one {key}")
    result = run_cli("serve", "up", tmp_path, tiny_bundle, "--profile", "cpu")
    assert result.code == 2 and "$HYPERSEG_KEYS: a setting of the gateway; add --gateway" in result.err
    assert key not in result.err
