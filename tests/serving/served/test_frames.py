"""Videos at the real server: side by side, forgotten, and of nobody else."""

import time

import numpy as np
import pytest

from hyperseg_runtime.errors import InputError
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.client import client as clients
from hyperseg_serving.client.client import Client
from hyperseg_serving.server.trial import ServeUp
from hyperseg_serving.service.requests import bytes_tensor, open_image
from hyperseg_serving.service.streams import UNDER_WAY_S
from serving_support import LIMITS, same, stream_of


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
    time.sleep(UNDER_WAY_S)
    with pytest.raises(InputError, match="E_STREAM_UNKNOWN"):
        stream_of(client, {**inputs, "STREAM": step})
        videos[0].push(coffee_bytes, ["a"])
    for video in videos:
        video.push(coffee_bytes, ["a"], last=True)


def test_nobody_feeds_a_video_of_another(
    client: Client, served: ServeUp, pipeline: Pipeline, coffee_bytes: bytes
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


def test_a_frame_without_a_start(client: Client, coffee_bytes: bytes) -> None:
    """As after a server was started again: an error once, then the video begins anew."""
    video = client.open_video()
    video._sequence, video._stream = "never started", "never given"
    with pytest.raises(InputError, match="START"):
        video.push(coffee_bytes, ["a"])
    assert len(video.push(coffee_bytes, ["a"], last=True)) == 1
