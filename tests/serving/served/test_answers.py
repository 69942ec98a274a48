"""What the real server answers: masks, classes, texts, from several callers at once."""

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tritonclient import http as http_client

from hyperseg_runtime.contracts.results import decode_rle
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.client.client import Client
from hyperseg_serving.client.results import results_of
from hyperseg_serving.contract import Options
from hyperseg_serving.server.trial import ServeUp
from hyperseg_serving.service.requests import Request, bytes_tensor, open_image
from hyperseg_serving.service.responses import parse_response
from serving_support import LIMITS, same
from support import RunCli


@pytest.mark.parametrize("scheme", ["http", "grpc+shm"])
def test_masks_are_those_of_the_pipeline(scheme: str, served: ServeUp, pipeline: Pipeline, coffee_bytes: bytes) -> None:
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


def test_an_answer_streams_and_then_the_mask(served: ServeUp, pipeline: Pipeline, coffee_bytes: bytes) -> None:
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


def test_the_ensemble_answers_the_servers_own_client(served: ServeUp, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    picture = http_client.InferInput("IMAGE", [len(coffee_bytes)], "UINT8")
    text = http_client.InferInput("TEXT", [1], "BYTES")
    picture.set_data_from_numpy(np.frombuffer(coffee_bytes, np.uint8))
    text.set_data_from_numpy(bytes_tensor(b"the cup"))
    asker = http_client.InferenceServerClient(served.http.removeprefix("http://"))
    result = asker.infer("hyperseg_referring", [picture, text])
    asker.close()
    found = results_of(parse_response({"RESULT": result.as_numpy("RESULT")}))
    assert same(found, [pipeline(open_image(coffee_bytes, LIMITS), "the cup")])


def test_eight_clients_lose_nothing_and_starve_nobody(served: ServeUp, pipeline: Pipeline, coffee_bytes: bytes) -> None:
    """While two of them read long answers, one token at a time."""
    texts = [f"the object number {number}" for number in range(6)]
    with pipeline.open(open_image(coffee_bytes, LIMITS)) as session:
        # One by one, as they are asked: a call of six adds up in another order, and a pixel may fall on the other side.
        expected = [session.segment(text) for text in texts]
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


def test_client_verbs(run_cli: RunCli, served: ServeUp, coffee: Path, tmp_path: Path, pipeline: Pipeline) -> None:
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
    pointed = run_cli("client", "segment", coffee, "--point", "200,150", "--url", served.http)
    assert json.loads(pointed.out)["results"][0]["asked"] == ["point 200,150"]
    (tmp_path / "frames").mkdir()
    for name in ("1.jpg", "2.jpg"):
        shutil.copy(coffee, tmp_path / "frames" / name)
    found = run_cli("client", "video", tmp_path / "frames", "the cup", "--url", served.grpc)
    assert [frame["frame"] for frame in json.loads(found.out)["frames"]] == ["1.jpg", "2.jpg"], found.err
    assert run_cli("client", "health", "--url", served.http).code == 0
    assert run_cli("client", "segment", tmp_path / "none.jpg", "a", "--url", served.http).code == 2
    assert run_cli("client", "segment", coffee, " ", "--url", served.http).code == 2


NEVER_CLOSED = """
import sys
from hyperseg_serving.client.client import Client
client = Client(sys.argv[1])
print(len(client.segment(open(sys.argv[2], "rb").read(), ["the cup"])), flush=True)
"""


def test_a_client_that_nobody_closes_keeps_no_program_alive(served: ServeUp, coffee: Path) -> None:
    command = [sys.executable, "-c", NEVER_CLOSED, served.grpc, coffee]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (0, "1\n"), ended.stderr
