"""The verbs as a user calls them, on the tiny model."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.backends.by_name import make_backend
from hyperseg_runtime.contracts.results import decode_rle
from support import RunCli


def test_make_tiny_is_seeded(run_cli: RunCli, tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert run_cli("make-tiny", tmp_path / "a").code == 0
    assert run_cli("make-tiny", tmp_path / "b", "--seed", 1).code == 0
    for path in tiny_checkpoint.iterdir():
        assert (tmp_path / "a" / path.name).read_bytes() == path.read_bytes()
    shard = "model-00001-of-00002.safetensors"
    assert (tmp_path / "b" / shard).read_bytes() != (tiny_checkpoint / shard).read_bytes()


def test_make_tiny_keeps_what_is_there(run_cli: RunCli, tmp_path: Path) -> None:
    result = run_cli("make-tiny", tmp_path)
    assert result.code == 2
    assert "--overwrite" in result.err
    result = run_cli("make-tiny", tmp_path / "x", "--family", "resnet")
    assert result.code == 2
    assert "families known here: hyperseg" in result.err
    assert list(tmp_path.iterdir()) == []


def test_run_writes_what_it_says(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    result = run_cli("run", tiny_bundle, coffee, "the cup", "--out", tmp_path, "--report", "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    names = [f"coffee.jpg.{kind}" for kind in ("mask.png", "overlay.png", "report.html", "result.json")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert sorted(content.pop("files").values()) == [str(tmp_path / name) for name in names]
    stored = json.loads((tmp_path / "coffee.jpg.result.json").read_text())
    assert stored.pop("written_by").startswith("hyperseg-trt result of ") and stored == content
    mask = np.asarray(Image.open(tmp_path / "coffee.jpg.mask.png"))
    assert mask.shape == (400, 600)
    assert set(np.unique(mask)) == {0, 255}
    best = content["instances"][0]
    assert np.array_equal(decode_rle(best["segmentation"]), mask == 255)
    assert best["area_px"] == (mask == 255).sum()
    stages = ["preprocess", "clip_encoder", "image_encoder", "fvp", "pixel_decoder", "input_embeddings"]
    assert list(content["timings_ms"]) == [*stages, "llm", "mask_decoder", "best_mask"]
    overlay = np.asarray(Image.open(tmp_path / "coffee.jpg.overlay.png")).astype(int)
    changed = np.abs(overlay - np.asarray(Image.open(coffee)).astype(int)).sum(2) > 0
    assert changed[mask == 255].mean() > 0.99


def test_run_tells_a_human(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    result = run_cli("run", tiny_bundle, coffee, "the cup", "--out", tmp_path, "--task", "reasoning", "--threads", 1)
    assert result.code == 0, result.err
    for part in (
        "coffee.jpg.mask.png",
        "coffee.jpg.overlay.png",
        "coffee.jpg.result.json",
        "score",
        "image_encoder",
        "ms",
    ):
        assert part in result.out
    unknown = run_cli("run", tiny_bundle, coffee, "the cup", "--out", tmp_path, "--task", "poetry")
    assert unknown.code == 2
    assert "unknown task 'poetry' for expressions; HyperSeg knows referring, reasoning, naming" in unknown.err


def test_several_texts_get_numbered_files(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    result = run_cli("run", tiny_bundle, coffee, "the cup", "a spoon", "--out", tmp_path, "--json")
    assert result.code == 0, result.err
    contents = json.loads(result.out)["results"]
    assert [content["asked"] for content in contents] == [["the cup"], ["a spoon"]]
    kinds = (("mask", "png"), ("overlay", "png"), ("result", "json"))
    names = [f"coffee.jpg.{kind}-{number}.{ending}" for number in (1, 2) for kind, ending in kinds]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    first, second = (content["timings_ms"] for content in contents)
    assert "image_encoder" in first and "image_encoder" not in second and {"llm", "mask_decoder"} < second.keys()
    for content in contents:
        assert all(Path(path).is_file() for path in content["files"].values())
    shown = run_cli("run", tiny_bundle, coffee, "the cup", "a spoon", "--out", tmp_path)
    assert shown.code == 0 and shown.out.count("score ") == 2 and shown.out.count("Time per stage") == 1


def test_the_native_kernel_gives_the_same_mask(
    run_cli: RunCli,
    tiny_bundle: Path,
    coffee: Path,
    tmp_path: Path,
    cpu_op_library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hyperseg_kernels.cpu_ops.library", lambda: cpu_op_library)
    contents = []
    for options in ((), ("--native",)):
        result = run_cli("run", tiny_bundle, coffee, "the cup", "--out", tmp_path, "--json", *options)
        assert result.code == 0, result.err
        contents.append(json.loads(result.out))
    plain, native = (content["instances"][0] for content in contents)
    assert native["segmentation"] == plain["segmentation"] and abs(native["score"] - plain["score"]) <= 2e-6


def test_without_a_compiler_native_says_so_and_runs(
    run_cli: RunCli,
    tiny_bundle: Path,
    coffee: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    result = run_cli("run", tiny_bundle, coffee, "the cup", "--out", tmp_path, "--native")
    assert result.code == 0 and "Traceback" not in result.err
    assert "their ONNX bodies run instead" in caplog.text


def test_names_first(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    """One result for the request: an instance for each name, best first, and the best one's mask as a picture."""
    arguments = ("Name the things.", "--task", "naming", "--out", tmp_path)
    result = run_cli("run", tiny_bundle, coffee, *arguments, "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    assert (content["asked"], content["task"]) == (["Name the things."], "naming")
    scores = [instance["score"] for instance in content["instances"]]
    assert scores and scores == sorted(scores, reverse=True)
    mask = np.asarray(Image.open(tmp_path / "coffee.jpg.mask.png")) == 255
    assert np.array_equal(decode_rle(content["instances"][0]["segmentation"]), mask)
    shown = run_cli("run", tiny_bundle, coffee, *arguments)
    assert shown.code == 0 and shown.out.count("score ") == len(scores)
    assert f"{content['instances'][0]['label']}: score" in shown.out


def test_chat_prints_the_answer(run_cli: RunCli, tiny_bundle: Path, coffee: Path) -> None:
    result = run_cli("chat", tiny_bundle, coffee, "What is this?", "--max-tokens", 6)
    assert result.code == 0 and result.out.strip()
    assert "stopped after 6 tokens; --max-tokens allows more" in result.err
    content = json.loads(run_cli("chat", tiny_bundle, coffee, "What is this?", "--max-tokens", 6, "--json").out)
    times = content.pop("timings_ms")
    read = {"prompt_tokens": content.pop("prompt_tokens"), "reused_tokens": content.pop("reused_tokens")}
    assert read["prompt_tokens"] > 50 and read["reused_tokens"] == 0
    assert content == {"text": result.out.strip(), "finish": "length", "tokens": 6}
    assert 0 < times["first_piece"] < times["whole"] and {"llm", "clip_encoder"} < times.keys()
    drawn = ("--temperature", 5, "--top-p", 0.9, "--seed", 3, "--json", "--max-tokens", 6)
    first, again = (json.loads(run_cli("chat", tiny_bundle, "What is a cup?", *drawn).out)["text"] for _ in range(2))
    assert first == again


def test_chat_takes_our_native_kernels(
    run_cli: RunCli, tiny_bundle: Path, coffee: Path, cpu_op_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def watching(*arguments: object, **options: object) -> object:
        opened.append(options["custom_op_libraries"])
        return make_backend(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("hyperseg_kernels.cpu_ops.library", lambda: cpu_op_library)
    monkeypatch.setattr("hyperseg_runtime.session.pipeline.make_backend", watching)
    asked = ("chat", tiny_bundle, coffee, "What is this?", "--max-tokens", 2)
    answers = [run_cli(*asked, *native).out for native in ((), ("--native",))]
    assert opened == [(), [cpu_op_library]] and answers[0] == answers[1] != ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("what", "is", "this"), "put a question of several words into quotes"),
        (("what is <image>",), "a prompt has one image"),
        (("\t",), "the text is empty"),
        (("what?", "--temperature", -1), "temperature is -1.0, expected 0 (greedy) to 100"),
        (("what?", "--top-p", 2), "top_p is 2.0"),
        (("what?", "--max-tokens", 5000), "tokens and the answer up to 5000, the model was exported for 384"),
        (("none.jpg", "what?"), "none.jpg"),
        ((__file__,), "is a file: what is the question about it?"),
    ],
    ids=str,
)
def test_chat_refuses(run_cli: RunCli, tiny_bundle: Path, arguments: tuple[object, ...], message: str) -> None:
    result = run_cli("chat", tiny_bundle, *arguments)
    assert result.code == 2 and message in result.err and not result.out


def test_inspect_is_readable(run_cli: RunCli, tiny_bundle: Path) -> None:
    result = run_cli("inspect", tiny_bundle)
    assert result.code == 0
    assert "referring" in result.out and "licence" in result.out
    for part in ("hyperseg", "all hashes match", "mask_decoder", "436 tensors", "left out", "passed"):
        assert part in result.out
    content = json.loads(run_cli("inspect", tiny_bundle, "--json").out)
    assert content == json.loads((tiny_bundle / "manifest.json").read_text())


def test_verify_compares_graphs_with_modules(run_cli: RunCli, tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    result = run_cli("verify", tiny_bundle, "--checkpoint", tiny_checkpoint, "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    assert content["passed"]
    assert {row["graph"] for row in content["parity"]} == {
        "preprocess", "image_encoder", "clip_encoder", "fvp", "llm", "lm_head", "pixel_decoder", "mask_decoder",
        "mask_readout",
    }  # fmt: skip


def test_verify_runs_on_photographs_of_the_user(
    run_cli: RunCli, tiny_bundle: Path, tiny_checkpoint: Path, coffee: Path
) -> None:
    result = run_cli("verify", tiny_bundle, "--checkpoint", tiny_checkpoint, "--image", coffee)
    assert result.code == 0, result.err
    assert "error / range" in result.out
    assert "present_key.0 to present_value." in result.out and result.out.count("present_") < 5


def test_wrong_command_lines(run_cli: RunCli) -> None:
    assert run_cli("no-such-verb").code == 2
    assert run_cli("run").code == 2
    assert run_cli("export", "a", "b", "--no-such-option").code == 2
    assert run_cli("--help").code == 0


def test_nothing_heavy_is_imported_for_help() -> None:
    """The command answers at once and works where the exporter's packages are missing."""
    program = "import sys; from hyperseg_runtime.cli.app import make_app; make_app(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "onnx", "onnxscript", "transformers"} & set(loaded)


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    """As on a machine where only the runtime was installed."""
    program = "import sys; sys.modules['torch'] = None; from hyperseg_runtime.cli.app import main; main()"
    arguments = ["make-tiny", str(tmp_path / "checkpoint")]
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert result.returncode == 3, result.stderr
    assert result.stderr.strip().endswith("run: pip install 'hyperseg-trt[export]'")
    assert "Traceback" not in result.stderr
