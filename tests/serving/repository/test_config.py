"""Generated configurations: schema, fit with each other and with the graphs, and the committed copy."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions, graph_specs
from hyperseg_serving import contract
from hyperseg_serving.contract import Limits, Profile
from hyperseg_serving.repository.config import Plan, served_models
from hyperseg_serving.repository.writer import published_plan, write_repository
from serving_config_checks import problems, read_configs

COMMITTED = Path(__file__).parents[3] / "triton_repo" / "models"


@pytest.mark.parametrize("profile", Profile)
def test_configurations_fit_each_other(profile: Profile, repository: Path) -> None:
    configs = read_configs(repository, profile)
    assert list(problems(configs)) == []
    assert {contract.PUBLIC, contract.VIDEO, contract.REFERRING} < configs.keys()


def test_the_checks_find_what_is_wrong(repository: Path) -> None:
    configs = read_configs(repository, Profile.GPU)
    steps = configs[contract.REFERRING].ensemble_scheduling.step
    steps[0].output_map["images"] = "elsewhere"
    configs["hyperseg_fvp"].input[0].dims[0] = 7
    configs["other"] = configs.pop("hyperseg_masks")
    configs["hyperseg_fvp"].dynamic_batching.ClearField("default_queue_policy")
    found = "\n".join(problems(configs))
    for expected in ("nobody makes images", "hyperseg_fvp: res3", "other holds", "the queue has no bound"):
        assert expected in found


@pytest.mark.parametrize("profile", Profile)
def test_stages_have_the_tensors_of_their_graphs(profile: Profile, real_dims: HypersegDimensions) -> None:
    plan = Plan(graph_specs(real_dims), engine_batch={"fvp": 1})
    configs = {model.graph: model.configs[profile] for model in served_models(plan) if model.graph}
    assert configs.keys() == {"image_encoder", "clip_encoder", "fvp", "pixel_decoder"}
    for spec in plan.stages:
        config = configs[spec.name]
        assert config.max_batch_size == (1 if (spec.name, profile) == ("fvp", Profile.GPU) else 8)
        for tensors, theirs in ((spec.inputs, config.input), (spec.outputs, config.output)):
            ours = [(t.name, DataType.TYPE_FP32, list(t.axes[1:])) for t in tensors]
            assert [(t.name, t.data_type, list(t.dims)) for t in theirs] == ours


def test_engines_are_captured_at_sizes_that_need_no_padding(real_dims: HypersegDimensions) -> None:
    (fvp,) = (m for m in served_models(Plan(graph_specs(real_dims))) if m.graph == "fvp")
    cuda = fvp.configs[Profile.GPU].optimization.cuda
    assert [graph.batch_size for graph in cuda.graph_spec] == [1, 8]
    assert not any(graph.HasField("graph_lower_bound") for graph in cuda.graph_spec)
    assert [w.batch_size for w in fvp.configs[Profile.GPU].model_warmup] == [1, 8]


def test_limits_pass_through_the_configuration() -> None:
    limits = Limits(max_texts=3, workers=2, stream_idle_s=7, max_queue=5)
    plan = Plan(published_plan("hyperseg").specs, limits)
    public, video, *_ = served_models(plan)
    config = public.configs[Profile.GPU]
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    assert Limits.from_parameters(parameters) == limits
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 5
    assert video.configs[Profile.GPU].sequence_batching.max_sequence_idle_microseconds == 7_000_000


@pytest.mark.parametrize("profile", Profile)
def test_python_models_run_once_however_many_gpus_there_are(profile: Profile) -> None:
    configs = [model.configs[profile] for model in served_models(published_plan("hyperseg"))]
    groups = {config.name: list(config.instance_group) for config in configs if config.backend == "python"}
    assert {contract.PUBLIC, contract.VIDEO, contract.MASKS} < groups.keys()
    assert all([(g.count, g.kind) for g in found] == [(1, ModelInstanceGroup.KIND_CPU)] for found in groups.values())


def test_limits_from_the_command_line() -> None:
    assert Limits().changed(["max_queue=9", "workers=1"]) == Limits(max_queue=9, workers=1)
    for wrong in ("max_queue", "max_queue=0", "max_queue=many", "none=1"):
        with pytest.raises(InputError, match="there are max_image_bytes="):
            Limits().changed([wrong])


def test_the_committed_repository_is_the_generated_one(tmp_path: Path) -> None:
    """Written by: hyperseg-trt serve init --published hyperseg --out triton_repo/models"""
    write_repository(tmp_path / "models", published_plan("hyperseg"))
    assert files_of(COMMITTED) == files_of(tmp_path / "models")


def test_a_newer_field_is_refused_by_the_schema() -> None:
    with pytest.raises(text_format.ParseError):
        text_format.Parse('name: "a" input { data_type: TYPE_F32 }', ModelConfig())


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
