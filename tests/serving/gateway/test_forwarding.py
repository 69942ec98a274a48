"""The gateway's list comes from the contract: what a repository has, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_serving import contract
from hyperseg_serving.contract import Limits
from hyperseg_serving.gateway.bootstrap import bootstrap
from hyperseg_serving.gateway.forwarding import Forwarding, forwarding_of
from hyperseg_serving.gateway.settings import GatewaySettings
from hyperseg_serving.names import ModelNames
from hyperseg_serving.repository.config import RepositorySpec, served_models
from hyperseg_serving.repository.writer import write_repository
from hyperseg_serving.server.command import Address


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_models_and_inputs_are_those_of_the_configurations(family: FamilySpec, tmp_path: Path) -> None:
    spec = RepositorySpec(family, family.graph_specs(family.published), Limits(max_image_bytes=5_000_000))
    write_repository(tmp_path / "repository", spec)
    found = forwarding_of(tmp_path / "repository")
    assert found.limits == spec.limits and found.max_message_bytes == 6_000_000
    inputs = {
        model.name: {tensor.name for tensor in next(iter(model.configs.values())).input}
        for model in served_models(spec)
    }
    for model, names in found.grpc_models().items():
        assert set(names) == inputs[model] - {contract.STREAM.name}
    assert found.ensemble == spec.names.ensemble and {found.ensemble} - {None} <= set(inputs)


def test_an_ensemble_that_was_deleted_is_not_forwarded(repository: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    name = forwarding_of(copy).ensemble
    assert name is not None
    shutil.rmtree(copy / name)
    found = forwarding_of(copy)
    assert found.ensemble is None and found.http_ensemble is None
    routes = json.dumps(bootstrap(found, GatewaySettings(Address()), Address(), 1, tmp_path / "admin"))
    assert f"{name}/generate" not in routes


def test_a_family_without_videos_has_no_route_for_them() -> None:
    family = next(family for family in FAMILIES.values() if not family.video_tasks)
    assert list(Forwarding(ModelNames(family), Limits(), True).grpc_models()) == [family.name]
