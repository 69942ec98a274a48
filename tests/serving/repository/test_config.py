"""Generated configurations: schema, fit with each other and with the graphs, and the committed copy."""

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.contracts.requests import Expressions, Question
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_serving.contract import Limits, Profile
from hyperseg_serving.names import ModelNames, family_in
from hyperseg_serving.repository.config import RepositorySpec, served_models
from hyperseg_serving.repository.writer import published_spec, write_repository
from hyperseg_serving.service import parameters
from serving_config_checks import problems, read_configs

COMMITTED = Path(__file__).parents[3] / "triton_repo" / "models"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The repository of every family at its published sizes."""
    folders = {name: tmp_path_factory.mktemp(name) for name in FAMILIES}
    for name, folder in folders.items():
        write_repository(folder, published_spec(name))
    return folders


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("family", FAMILIES)
def test_configurations_fit_each_other(family: str, profile: Profile, published: dict[str, Path]) -> None:
    configs = read_configs(published[family], profile)
    assert list(problems(configs)) == []
    assert {config.parameters["family"].string_value for config in configs.values()} == {family}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_models_are_those_that_the_family_declares(family: FamilySpec, published: dict[str, Path]) -> None:
    names = ModelNames(family)
    configs = read_configs(published[family.name], Profile.CPU)
    assert family_in(published[family.name]) is family
    assert names.public in configs
    assert (names.video in configs) == bool(family.video_tasks)
    assert {names.ensemble, names.preprocess, names.masks} & configs.keys() == (
        {names.ensemble, names.preprocess, names.masks} if family.answers(Expressions) else set()
    )
    if names.video:
        asked = {tensor.name for tensor in configs[names.video].input if tensor.optional}
        assert asked == {"TEXT", "CLASSES", "REGIONS", "OPTIONS"}, "what is not answered is refused in words"
    public = configs[names.public]
    assert ("PIECE" in {tensor.name for tensor in public.output}) == bool(family.answers(Question))
    assert ("STREAM" in {tensor.name for tensor in public.input}) == bool(family.video_tasks)


def test_the_checks_find_what_is_wrong(published: dict[str, Path]) -> None:
    configs = read_configs(published["hyperseg"], Profile.GPU)
    steps = configs["hyperseg_referring"].ensemble_scheduling.step
    steps[0].output_map["images"] = "elsewhere"
    configs["hyperseg_fvp"].input[0].dims[0] = 7
    configs["other"] = configs.pop("hyperseg_masks")
    configs["hyperseg_fvp"].dynamic_batching.ClearField("default_queue_policy")
    found = "\n".join(problems(configs))
    for expected in ("nobody makes images", "hyperseg_fvp: res3", "other holds", "the queue has no bound"):
        assert expected in found


@pytest.mark.parametrize("profile", Profile)
def test_stages_have_the_tensors_of_their_graphs(profile: Profile) -> None:
    spec = replace(published_spec("hyperseg"), engine_batch={"fvp": 1})
    configs = {model.graph: model.configs[profile] for model in served_models(spec) if model.graph}
    assert configs.keys() == {"image_encoder", "clip_encoder", "fvp", "pixel_decoder"}
    for graph in spec.stages:
        config = configs[graph.name]
        assert config.max_batch_size == (1 if (graph.name, profile) == ("fvp", Profile.GPU) else 8)
        for tensors, theirs in ((graph.inputs, config.input), (graph.outputs, config.output)):
            ours = [(t.name, DataType.TYPE_FP32, list(t.axes[1:])) for t in tensors]
            assert [(t.name, t.data_type, list(t.dims)) for t in theirs] == ours


def test_the_last_step_gets_whatever_other_graphs_take() -> None:
    """Also an output that a further stage takes as well."""

    def graph(name: str, takes: str, makes: str, reuse: Reuse) -> GraphSpec:
        inputs, outputs = (
            tuple(TensorSpec(name=tensor, dtype=DType.FLOAT32, axes=("batch", 2)) for tensor in names.split())
            for names in (takes, makes)
        )
        ranges = {"batch": AxisRange(minimum=1, typical=1, maximum=8)}
        return GraphSpec(name=name, inputs=inputs, outputs=outputs, axis_ranges=ranges, reuse=reuse)

    graphs = (
        graph("first", "pixels", "fine coarse", Reuse.IMAGE),
        graph("second", "fine coarse more", "tokens spare", Reuse.IMAGE),
        graph("last", "fine tokens text", "mask", Reuse.PROMPT),
    )
    spec = RepositorySpec(FAMILIES["hyperseg"], graphs)
    assert [tensor.name for tensor in spec.stage_inputs()] == ["pixels", "more"]
    assert [tensor.name for tensor in spec.stage_outputs()] == ["fine", "tokens", "spare"]
    host_reads = replace(spec, family=replace(spec.family, host_reads=("coarse",)))
    assert [tensor.name for tensor in host_reads.stage_outputs()] == ["fine", "coarse", "tokens", "spare"]


def test_sizes_that_the_image_decides_are_left_open() -> None:
    images = TensorSpec(name="images", dtype=DType.FLOAT32, axes=("batch", 3, "height", "width"))
    maps = TensorSpec(name="maps", dtype=DType.FLOAT32, axes=("batch", 8, "ceil(height / 8)", "ceil(width / 8)"))
    ranges = {"batch": AxisRange(minimum=1, typical=1, maximum=4)}
    ranges |= {name: AxisRange(minimum=32, typical=640, maximum=1333) for name in ("height", "width")}
    graph = GraphSpec(name="g", inputs=(images,), outputs=(maps,), axis_ranges=ranges, reuse=Reuse.IMAGE)
    (model,) = (m for m in served_models(RepositorySpec(FAMILIES["hyperseg"], (graph,))) if m.graph)
    config = model.configs[Profile.GPU]
    assert list(config.input[0].dims) == [3, -1, -1] and list(config.output[0].dims) == [8, -1, -1]
    assert list(config.model_warmup[0].inputs["images"].dims) == [3, 640, 640]
    assert list(config.optimization.cuda.graph_spec[1].input["images"].dim) == [3, 640, 640]


def test_engines_are_captured_at_sizes_that_need_no_padding() -> None:
    (fvp,) = (m for m in served_models(published_spec("hyperseg")) if m.graph == "fvp")
    cuda = fvp.configs[Profile.GPU].optimization.cuda
    assert [graph.batch_size for graph in cuda.graph_spec] == [1, 8]
    assert not any(graph.HasField("graph_lower_bound") for graph in cuda.graph_spec)
    assert [w.batch_size for w in fvp.configs[Profile.GPU].model_warmup] == [1, 8]
    assert list(fvp.configs[Profile.GPU].dynamic_batching.preferred_batch_size) == [8]


def test_one_process_runs_all_graphs_of_a_request() -> None:
    public = served_models(published_spec("hyperseg"))[0].configs
    values = {profile: public[profile].parameters[parameters.IMAGE_GRAPHS].string_value for profile in Profile}
    assert values == dict.fromkeys(Profile, parameters.IN_PROCESS)


def test_limits_pass_through_the_configuration() -> None:
    limits = Limits(max_texts=3, workers=2, stream_idle_s=7, max_queue=5)
    public, video, *rest = served_models(replace(published_spec("hyperseg"), limits=limits))
    config = public.configs[Profile.GPU]
    told = {name: value.string_value for name, value in config.parameters.items()}
    assert Limits.from_parameters(told) == limits
    queues = {model.name: model.configs[Profile.GPU].dynamic_batching.default_queue_policy for model in (public, *rest)}
    assert queues["hyperseg_masks"].max_queue_size == 5
    assert not config.HasField("dynamic_batching")  # it keeps its own line, which refuses and counts
    assert video.configs[Profile.GPU].sequence_batching.max_sequence_idle_microseconds == 7_000_000


@pytest.mark.parametrize("profile", Profile)
def test_python_models_run_once_however_many_gpus_there_are(profile: Profile) -> None:
    configs = [model.configs[profile] for model in served_models(published_spec("hyperseg"))]
    groups = {config.name: list(config.instance_group) for config in configs if config.backend == "python"}
    assert {"hyperseg", "hyperseg_video", "hyperseg_masks"} < groups.keys()
    assert all([(g.count, g.kind) for g in found] == [(1, ModelInstanceGroup.KIND_CPU)] for found in groups.values())


def test_limits_from_the_command_line() -> None:
    assert Limits().changed(["max_queue=9", "workers=1"]) == Limits(max_queue=9, workers=1)
    for wrong in ("max_queue", "max_queue=0", "max_queue=many", "none=1"):
        with pytest.raises(InputError, match="there are max_image_bytes="):
            Limits().changed([wrong])


def test_the_committed_repository_is_the_generated_one(published: dict[str, Path]) -> None:
    """Written by: hyperseg-trt serve init --published hyperseg --out triton_repo/models"""
    assert files_of(COMMITTED) == files_of(published["hyperseg"])


def test_a_newer_field_is_refused_by_the_schema() -> None:
    with pytest.raises(text_format.ParseError):
        text_format.Parse('name: "a" input { data_type: TYPE_F32 }', ModelConfig())


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
