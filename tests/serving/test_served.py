"""The real server, started by `serve up` on the CPU profile. One start for all: the last tests break and stop it."""

import json
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tritonclient import http as http_client
from tritonclient.utils import InferenceServerException

from hyperseg_runtime.contracts.results import decode_rle
from hyperseg_runtime.errors import HypersegError, ImageError, InputError, PromptError, ServerError, UnavailableError
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.client import client as clients
from hyperseg_serving.client.canary import ask_canary, ask_live
from hyperseg_serving.client.client import Client
from hyperseg_serving.client.results import results_of
from hyperseg_serving.contract import Limits, Options, Profile
from hyperseg_serving.repository.config import served_models
from hyperseg_serving.repository.writer import bundle_spec, write_repository
from hyperseg_serving.server.command import BACKEND_REGION
from hyperseg_serving.server.distribution import Distribution
from hyperseg_serving.server.process import SHARED_MEMORY
from hyperseg_serving.service import metrics
from hyperseg_serving.service.requests import Request, bytes_tensor, open_image
from hyperseg_serving.service.responses import parse_response
from serving_support import Served, ask_raw, metric, post, same, stream_of
from support import RunCli

MASKS = "hyperseg_masks"
REFUSED_BUSY = 'hyperseg_requests_refused{reason="E_BUSY"}'
LIMITS = Limits(workers=2, max_queue=8, max_streams=3)
PROGRAM = "from hyperseg_runtime.cli.app import main; main()"
READY_S = 120
DASHBOARD = Path(__file__).parents[2] / "triton_repo" / "grafana" / "dashboard.json"
NEEDS_A_GPU = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}


def dashboard_names() -> set[str]:
    """Numbers that its panels show."""
    return set(re.findall(r"\b((?:hyperseg|nv)_\w+)", DASHBOARD.read_text()))


@pytest.fixture(scope="module")
def served(distribution: Distribution, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    bundle = Path(shutil.copytree(tiny_bundle, folder / "bundle"))
    spec, engines = bundle_spec(bundle)
    write_repository(folder / "repository", replace(spec, limits=LIMITS), engines)
    command = [sys.executable, "-c", PROGRAM, "serve", "up", str(folder / "repository"), str(bundle)]
    command += ["--profile", "cpu", "--shared-memory", "--threads", "1", "--timeout-s", str(READY_S)]
    command += ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    log = folder / "log"
    with log.open("w") as stderr:
        process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    lines = [process.stdout.readline() for _ in range(5)]
    if not lines[0].startswith("ready"):
        pytest.fail(log.read_text())
    urls = dict(line.split() for line in lines[1:4])
    assert "on stderr" in lines[4]
    family = process.children(recursive=True)
    yield Served(process, urls["http"], urls["grpc"], urls["metrics"], bundle, log)
    if process.is_running():
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    assert not psutil.wait_procs(family, timeout=5)[1]
    process.stdout.close()


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.grpc) as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["http", "grpc+shm"])
def test_masks_are_those_of_the_pipeline(scheme: str, served: Served, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    url = served.http if scheme == "http" else served.grpc.replace("grpc", scheme, 1)
    with Client(url) as client, pipeline.open(open_image(coffee_bytes, LIMITS)) as session:
        assert same(
            client.segment(coffee_bytes, ["the cup", "the spoon"]), session.segment_many(["the cup", "the spoon"])
        )
        assert same(
            [client.segment_classes(coffee_bytes, ["cup", "table"])], [session.segment_classes(["cup", "table"])]
        )


def test_an_image_seen_before_is_not_read_again(client: Client, coffee_bytes: bytes) -> None:
    mine = Options(cache_key="mine")
    client.segment(coffee_bytes, ["the cup"], mine)
    (again,) = client.segment(coffee_bytes, ["the spoon"], mine)
    assert again.details["reused_tokens"] > 0
    assert "image_encoder" not in again.timings_ms


def test_an_answer_streams_and_then_the_mask(served: Served, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    request = Request(coffee_bytes, ("the cup",), question="What is it?", options=Options(max_tokens=8))
    with pipeline.open(open_image(coffee_bytes, LIMITS)) as session:
        answer = session.ask("What is it?", max_tokens=8).finished()
        expected = session.segment_many(["the cup"])
    for url in (served.grpc, served.http):
        with Client(url) as client:
            *pieces, last = client.respond(request)
        assert len(pieces) > 1
        assert "".join(response.piece or "" for response in pieces).strip() == answer.text
        assert last.result is not None and last.result["answer"]["finish"] == answer.finish
        assert same(results_of(last), expected)


def test_the_ensemble_answers_the_servers_own_client(served: Served, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    picture = http_client.InferInput("IMAGE", [len(coffee_bytes)], "UINT8")
    text = http_client.InferInput("TEXT", [1], "BYTES")
    picture.set_data_from_numpy(np.frombuffer(coffee_bytes, np.uint8))
    text.set_data_from_numpy(bytes_tensor(b"the cup"))
    asker = http_client.InferenceServerClient(served.http.removeprefix("http://"))
    result = asker.infer("hyperseg_referring", [picture, text])
    asker.close()
    found = results_of(parse_response({"RESULT": result.as_numpy("RESULT")}))
    assert same(found, [pipeline(open_image(coffee_bytes, LIMITS), "the cup")])


def test_videos_side_by_side_do_not_mix(client: Client, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    texts = {"one": "the cup", "two": "the spoon"}
    pixels = open_image(coffee_bytes, LIMITS)
    frames = [coffee_bytes, clients.encoded(np.ascontiguousarray(pixels[:, ::-1]))]
    videos = {name: client.open_video() for name in texts}
    expected = {name: pipeline.open_video() for name in texts}
    for number, frame in enumerate(frames):
        for name, text in texts.items():
            (found,) = videos[name].push(frame, [text], last=number == len(frames) - 1)
            (own,) = expected[name].push(open_image(frame, LIMITS), [text])
            assert found.frame == own.frame == number and same(found.results, own.results)


def test_a_stream_that_made_room_for_others_must_start_again(client: Client, coffee_bytes: bytes) -> None:
    videos = [client.open_video() for _ in range(LIMITS.max_streams)]
    for video in videos:
        video.push(coffee_bytes, ["a"])
    # Straight to the public model: a fourth sequence would wait in the server for one of the three to end.
    inputs = {"IMAGE": np.frombuffer(coffee_bytes, np.uint8), "TEXT": bytes_tensor(b"a")}
    step = bytes_tensor(b'{"start": true}')
    with pytest.raises(InputError, match="E_STREAM_UNKNOWN"):
        stream_of(client, {**inputs, "STREAM": step})
        videos[0].push(coffee_bytes, ["a"])
    for video in videos:
        video.push(coffee_bytes, ["a"], last=True)


def test_nobody_feeds_a_video_of_another(
    client: Client, served: Served, pipeline: Pipeline, coffee_bytes: bytes
) -> None:
    """Who knows the sequence's id, which callers choose, still lacks the name that the server gave the video."""
    mine, pixels = client.open_video(), open_image(coffee_bytes, LIMITS)
    mine.push(coffee_bytes, ["the cup"])
    with Client(served.grpc) as other:
        intruder = other.open_video()
        intruder._sequence, intruder._stream = mine._sequence, "guessed"
        with pytest.raises(InputError, match="E_STREAM_UNKNOWN"):
            intruder.push(clients.encoded(pixels[:, ::-1].copy()), ["a"])
    (found,) = mine.push(coffee_bytes, ["the cup"], last=True)
    expected = pipeline.open_video()
    expected.push(pixels, ["the cup"])
    assert same(found.results, expected.push(pixels, ["the cup"])[0].results)


PICTURE, WORD = np.zeros(5, np.uint8), bytes_tensor(b"a")


@pytest.mark.parametrize("model", ["hyperseg", "hyperseg_referring", "hyperseg_preprocess", "hyperseg_video", MASKS])
@pytest.mark.parametrize(
    ("tensors", "wrong_bytes"),
    [
        ({"IMAGE": PICTURE, "TEXT": WORD}, None),
        ({"IMAGE": PICTURE.astype(np.float32), "TEXT": WORD}, None),
        ({"IMAGE": PICTURE.reshape(5, 1), "TEXT": WORD}, None),
        ({"IMAGE": PICTURE}, None),
        ({"IMAGE": PICTURE, "TEXT": WORD, "OTHER": WORD}, None),
        ({"IMAGE": PICTURE, "TEXT": WORD}, b"\xff\xff\xff\x7fa"),
        ({"IMAGE": PICTURE, "TEXT": WORD}, b"\x01"),
        ({"IMAGE": PICTURE, "TEXT": bytes_tensor(b"\xff\xfe")}, None),
    ],
)
def test_broken_requests_are_refused(
    model: str, tensors: dict[str, np.ndarray], wrong_bytes: bytes | None, served: Served
) -> None:
    """In a text that names no file of the server; the next test asks whether it is still there."""
    with pytest.raises(InferenceServerException) as refusal:
        ask_raw(served.grpc, model, tensors, wrong_bytes)
    message = refusal.value.message()
    assert "Traceback" not in message and ".py" not in message and "0x" not in message


def test_the_last_step_alone_keeps_the_limits(served: Served, tiny_bundle: Path) -> None:
    (masks,) = (model for model in served_models(bundle_spec(tiny_bundle)[0]) if model.name == MASKS)
    wanted = masks.configs[Profile.CPU].input
    outputs = {tensor.name: np.zeros(tensor.dims, np.float32) for tensor in wanted if min(tensor.dims) > 0}
    with pytest.raises(InferenceServerException, match="E_IMAGE_TOO_LARGE"):
        ask_raw(served.grpc, MASKS, {**outputs, "SIZE": np.array([1 << 20, 1 << 20]), "CHECKED_TEXT": WORD})


def test_the_server_answers_after_all_that(served: Served) -> None:
    assert ask_canary(served.http, 10) > 0


def test_hostile_input_is_named(client: Client, served: Served, coffee_bytes: bytes, bomb: bytes) -> None:
    cases: list[tuple[type[HypersegError], str, Any]] = [
        (ImageError, "E_IMAGE_TOO_LARGE", lambda: client.segment(bomb, ["a"])),
        (ImageError, "E_IMAGE_TOO_LARGE", lambda: client.segment(bytes(LIMITS.max_image_bytes + 1), ["a"])),
        (ImageError, "E_IMAGE", lambda: client.segment(coffee_bytes[:5000], ["a"])),
        (PromptError, "E_TEXT", lambda: client.segment(coffee_bytes, [" "])),
        (PromptError, "E_TEXT", lambda: client.segment(coffee_bytes, ["a <image> b"])),
        (InputError, "E_TOO_MANY", lambda: client.segment(coffee_bytes, ["a"] * 33)),
        (InputError, "E_REQUEST", lambda: client.segment(coffee_bytes, ["a"], Options(task="none"))),
        (InputError, "E_OPTIONS", lambda: list(client.ask(None, "a", Options(max_tokens=513)))),
        (ServerError, "E_TIMEOUT", lambda: list(client.ask(coffee_bytes, "a", Options(timeout_ms=1)))),
    ]
    for kind, identifier, call in cases:
        with pytest.raises(kind, match=identifier):
            call()
        assert len(client.segment(coffee_bytes, ["the cup"])) == 1


def test_a_frame_without_a_start(client: Client, coffee_bytes: bytes) -> None:
    """As after a server was started again: an error once, then the video begins anew."""
    video = client.open_video()
    video._sequence, video._stream = "never started", "never given"
    with pytest.raises(InputError, match="START"):
        video.push(coffee_bytes, ["a"])
    assert len(video.push(coffee_bytes, ["a"], last=True)) == 1


def test_unknown_options_over_http(served: Served) -> None:
    status, body = post(served.http, "hyperseg", {"QUESTION": "a", "OPTIONS": '{"bogus": 1}'})
    assert status == 400 and "E_OPTIONS" in body


def test_a_caller_who_leaves_ends_the_work(client: Client, served: Served) -> None:
    """More than one try: on a busy machine an answer may be over before the caller's leaving arrives."""
    cancelled = 'hyperseg_requests_refused{reason="E_CANCELLED"}'
    before = metric(served, cancelled)
    for _ in range(5):
        answer = client.ask(None, "Tell all.", Options(max_tokens=250))
        next(answer)
        answer.close()
        time.sleep(1.5)  # numbers are published every second
        if metric(served, cancelled) > before:
            return
    pytest.fail("every answer was read to its end for nobody")


def test_eight_clients_lose_nothing_and_starve_nobody(served: Served, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    """While two of them read long answers, one token at a time."""
    texts = [f"the object number {number}" for number in range(6)]
    with pipeline.open(open_image(coffee_bytes, LIMITS)) as session:
        expected = session.segment_many(texts)
    begun, finished = threading.Barrier(8), list[str]()

    def segment(number: int) -> bool:
        with Client(served.grpc if number % 2 else served.http) as client:
            begun.wait()
            right = [same(client.segment(coffee_bytes, [texts[number]]), [expected[number]]) for _ in range(4)]
            finished.append("masks")
            return all(right)

    def read(number: int) -> bool:
        with Client(served.grpc) as client:
            begun.wait()
            pieces = list(client.ask(None, f"Question {number}?", Options(max_tokens=200)))
            finished.append("answer")
            return len(pieces) > 10

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(segment, number) for number in range(6)] + [
            pool.submit(read, number) for number in range(2)
        ]
        assert all(work.result() for work in asked)
    assert len(finished) == 8


def test_a_full_queue_says_so(served: Served, coffee_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ATTEMPTS", 1)

    pixels, all_there = open_image(coffee_bytes, LIMITS), threading.Barrier(24)

    def ask(number: int) -> str:
        new = clients.encoded(np.roll(pixels, number + 1, axis=1))
        with Client(served.grpc) as client:
            assert client.family.video_tasks
            all_there.wait()
            try:
                client.segment(new, [f"the thing {number} {index}" for index in range(16)])
            except UnavailableError:
                return "no room"
            return "done"

    before = metric(served, REFUSED_BUSY)
    with ThreadPoolExecutor(25) as pool:
        asked = [pool.submit(ask, number) for number in range(24)]
        while metric(served, REFUSED_BUSY) == before and not all(work.done() for work in asked):
            time.sleep(0.1)
        assert ask_live(served.http, 10)["limits"] == LIMITS.model_dump()
        assert ask_canary(served.http, 20) > 0  # the line is full: probes have a place of their own
        outcomes = [work.result() for work in asked]
    assert set(outcomes) == {"no room", "done"}
    give_up_s = time.monotonic() + 10  # numbers are published every second
    while metric(served, REFUSED_BUSY) < before + outcomes.count("no room") and time.monotonic() < give_up_s:
        time.sleep(0.1)
    assert metric(served, REFUSED_BUSY) == before + outcomes.count("no room")
    assert outcomes.count("done") >= LIMITS.max_queue


def test_texts_without_number_stall_nobody(served: Served, client: Client, coffee_bytes: bytes) -> None:
    """27 MB of empty texts, whose reading takes the server's library seconds."""
    count = 6_750_000
    text = http_client.InferInput("TEXT", [count], "BYTES")
    text._raw_data = bytes(4 * count)
    text._parameters["binary_data_size"] = 4 * count
    picture = http_client.InferInput("IMAGE", [len(coffee_bytes)], "UINT8")
    picture.set_data_from_numpy(np.frombuffer(coffee_bytes, np.uint8))
    client.segment(coffee_bytes, ["a"])
    with ThreadPoolExecutor(1) as pool:
        hostile = http_client.InferenceServerClient(served.http.removeprefix("http://"), network_timeout=20)
        asked = pool.submit(hostile.infer, "hyperseg_preprocess", [picture, text])
        start = time.monotonic()
        for _ in range(3):
            client.segment(coffee_bytes, ["a"])
        assert time.monotonic() - start < 3
        with pytest.raises(InferenceServerException, match="E_TOO_MANY"):
            asked.result()
        assert time.monotonic() - start < 3
        hostile.close()


def test_shared_memory_is_for_nobody_else(served: Served) -> None:
    (server,) = (p for p in served.process.children() if "tritonserver" in p.name())
    regions = list(SHARED_MEMORY.glob(f"{BACKEND_REGION}{served.process.pid}_*"))
    assert server.is_running() and regions
    assert {stat.S_IMODE(region.stat().st_mode) for region in regions} == {0o600}


def test_metrics_and_closed_administration(served: Served) -> None:
    page = urllib.request.urlopen(served.metrics).read().decode()
    shown = {line.split()[0].partition("{")[0] for line in page.splitlines() if line and line[0] != "#"}
    assert metrics.names() <= shown
    assert dashboard_names() <= shown | NEEDS_A_GPU
    for name in (
        'hyperseg_requests_served{kind="masks"}',
        "hyperseg_prompt_tokens_reused",
        "hyperseg_stage_ms",
        "nv_inference_count",
    ):
        assert metric(served, name) > 0
    for path in ("/v2/models/hyperseg/config", "/v2/models/stats", "/v2/logging"):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(served.http + path)
        assert refusal.value.code == 403
        refusal.value.close()


def test_a_bundle_replaced_while_serving_is_not_noticed(
    client: Client, served: Served, tiny_bundle: Path, coffee_bytes: bytes
) -> None:
    """What was opened goes on being used, and the answer says which bundle that is."""
    request = Request(coffee_bytes, ("the cup",), question="a?", options=Options(max_tokens=3))
    *_, before = client.respond(request)
    served.bundle.rename(served.bundle.with_name("old"))
    shutil.copytree(served.bundle.with_name("old"), served.bundle)
    (served.bundle / TOKENIZER_FILE).write_text("{}")
    (served.bundle / "manifest.json").write_text("{}")
    shutil.rmtree(served.bundle.with_name("old"))
    *_, after = client.respond(request)
    shutil.rmtree(served.bundle)
    shutil.copytree(tiny_bundle, served.bundle)  # for a server that is started again
    assert before.result is not None and after.result is not None
    assert after.result["bundle"] == before.result["bundle"]
    assert same(results_of(after), results_of(before))


def test_client_verbs(run_cli: RunCli, served: Served, coffee: Path, tmp_path: Path, pipeline: Pipeline) -> None:
    found = run_cli("client", "segment", coffee, "the cup", "--url", served.http)
    assert found.code == 0, found.err
    (result,) = json.loads(found.out)["results"]
    expected = pipeline(coffee, "the cup").mask
    assert np.array_equal(decode_rle(result["instances"][0]["segmentation"]), expected)
    for output in ("png", "overlay"):
        found = run_cli(
            "client", "segment", coffee, "a", "b", "--format", output, "--out", tmp_path, "--url", served.grpc
        )
        assert found.code == 0, found.err
    assert len(list(tmp_path.glob("coffee.*.png"))) == 4
    assert run_cli("client", "ask", coffee, "What?", "--max-tokens", 3, "--url", served.grpc).code == 0
    (tmp_path / "frames").mkdir()
    for name in ("1.jpg", "2.jpg"):
        shutil.copy(coffee, tmp_path / "frames" / name)
    found = run_cli("client", "video", tmp_path / "frames", "the cup", "--url", served.grpc)
    assert [frame["frame"] for frame in json.loads(found.out)["frames"]] == ["1.jpg", "2.jpg"], found.err
    assert run_cli("client", "health", "--url", served.http).code == 0
    assert run_cli("client", "segment", tmp_path / "none.jpg", "a", "--url", served.http).code == 2
    assert run_cli("client", "segment", coffee, " ", "--url", served.http).code == 2


def stub(served: Served, model: str) -> psutil.Process:
    """The process of a model."""
    (found,) = (p for p in served.process.children(recursive=True) if f"{model}_0_0" in _words(p))
    return found


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_a_lost_model_is_told_to_who_waits_and_comes_back(served: Served, coffee_bytes: bytes) -> None:
    """Killed while an answer is under way. The server alone would never answer, and call itself ready."""
    before = ask_live(served.http, 2)["identity"]
    with Client(served.grpc) as client:
        answer = client.ask(None, "Tell all.", Options(max_tokens=250))
        next(answer)
        stub(served, "hyperseg").kill()
        start = time.monotonic()
        with pytest.raises((ServerError, UnavailableError)):
            list(answer)
        assert time.monotonic() - start < 5
    while True:
        try:
            assert ask_live(served.http, 2)["identity"] != before
            ask_canary(served.http, 10, every_path=True)
            break
        except (ServerError, UnavailableError):
            assert time.monotonic() - start < READY_S
            time.sleep(0.2)
    assert "the process of hyperseg ended; starting it again" in served.log.read_text()
    with Client(served.grpc) as client:
        assert len(client.segment(coffee_bytes, ["a"])) == 1


def test_stopping_answers_what_is_under_way(served: Served, coffee_bytes: bytes) -> None:
    """Last: the server is gone afterwards."""
    callers = 8  # some at work, the others in line
    connected = threading.Barrier(callers, timeout=30)

    def read(number: int) -> tuple[int, str]:
        with Client(served.grpc) as client:
            list(client.respond(Request(question="A question?", options=Options(max_tokens=1))))
            connected.wait()
            *pieces, last = client.respond(Request(question=f"Question {number}?", options=Options(max_tokens=250)))
            assert last.result is not None
            return len(pieces), last.result["answer"]["finish"]

    with ThreadPoolExecutor(callers) as pool, Client(served.grpc) as other:
        asked = [pool.submit(read, number) for number in range(callers)]
        while not any(work.done() for work in asked) and ask_live(served.http, 2)["under_way"] < callers:
            time.sleep(0.01)
        served.process.send_signal(signal.SIGTERM)
        with pytest.raises(UnavailableError):  # E_DRAINING, or what the server itself says once it is about to end
            for _ in range(1000):
                other.segment(coffee_bytes, ["a"])
        answers = [work.result() for work in asked]
    assert all(count > 10 and finish for count, finish in answers)
    assert served.process.wait(30) == 0
