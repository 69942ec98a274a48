"""What the real server refuses, in texts that name the fault and no file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from hyperseg_runtime.errors import HypersegError, ImageError, InputError, PromptError, ServerError
from hyperseg_serving.client.canary import ask_canary
from hyperseg_serving.client.client import Client
from hyperseg_serving.contract import Options, Profile
from hyperseg_serving.repository.config import served_models
from hyperseg_serving.repository.writer import bundle_spec
from hyperseg_serving.server.trial import ServeUp
from hyperseg_serving.service.requests import bytes_tensor
from serving_support import LIMITS, ask_raw, post

MASKS = "hyperseg_masks"
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
    model: str, tensors: dict[str, np.ndarray], wrong_bytes: bytes | None, served: ServeUp
) -> None:
    """In a text that names no file of the server; the next test asks whether it is still there."""
    with pytest.raises(InferenceServerException) as refusal:
        ask_raw(served.grpc, model, tensors, wrong_bytes)
    message = refusal.value.message()
    assert "Traceback" not in message and ".py" not in message and "0x" not in message


def test_the_last_step_alone_keeps_the_limits(served: ServeUp, tiny_bundle: Path) -> None:
    (masks,) = (model for model in served_models(bundle_spec(tiny_bundle)[0]) if model.name == MASKS)
    wanted = masks.configs[Profile.CPU].input
    outputs = {tensor.name: np.zeros(tensor.dims, np.float32) for tensor in wanted if min(tensor.dims) > 0}
    with pytest.raises(InferenceServerException, match="E_IMAGE_TOO_LARGE"):
        ask_raw(served.grpc, MASKS, {**outputs, "SIZE": np.array([1 << 20, 1 << 20]), "CHECKED_TEXT": WORD})


def test_the_server_answers_after_all_that(served: ServeUp) -> None:
    assert ask_canary(served.http, 10) > 0


def test_hostile_input_is_named(client: Client, served: ServeUp, coffee_bytes: bytes, bomb: bytes) -> None:
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


def test_unknown_options_over_http(served: ServeUp) -> None:
    status, body = post(served.http, "hyperseg", {"QUESTION": "a", "OPTIONS": '{"bogus": 1}'})
    assert status == 400 and "E_OPTIONS" in body
