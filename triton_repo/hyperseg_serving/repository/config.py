"""The configuration of every served model, as the server's own protobuf messages, from the bundle's contracts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup, ModelQueuePolicy, ModelWarmup

from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_serving import contract
from hyperseg_serving.contract import Limits, Profile, WireTensor, wire_tensor
from hyperseg_serving.service import opening

QUEUE_DELAY_US = 1000
"""How long a stage may wait for others to share a call with; little beside the call itself."""
BATCH = "batch"


@dataclass(frozen=True)
class ServedModel:
    """One folder of the repository."""

    name: str
    configs: Mapping[Profile, ModelConfig]
    source: str | None = None
    """File of `models/` that runs it where the server's Python backend does."""
    graph: str | None = None
    """Graph whose engine runs it where TensorRT does."""

    def about(self, engines: Collection[str]) -> str:
        """Who runs it, in words."""
        if self.source is None:
            return "the server itself, as an ensemble"
        if self.graph is None:
            return "Python"
        return "TensorRT, or ONNX Runtime with profile cpu" if self.graph in engines else "ONNX Runtime; no engine yet"


@dataclass(frozen=True)
class Plan:
    """What the configurations are made from."""

    specs: Sequence[GraphSpec]
    limits: Limits = field(default_factory=Limits)
    engine_batch: Mapping[str, int] = field(default_factory=dict)
    """Largest batch of a graph's engine; without an entry the contract's own."""

    @property
    def stages(self) -> list[GraphSpec]:
        """Graphs that look at the image alone: feed-forward, and worth a model each."""
        return [spec for spec in self.specs if spec.reuse is Reuse.IMAGE]


def served_models(plan: Plan) -> list[ServedModel]:
    """Everything of a repository."""
    return [
        ServedModel(contract.PUBLIC, {p: _public(plan, p) for p in Profile}, "hyperseg.py"),
        ServedModel(contract.VIDEO, {p: _video(plan) for p in Profile}, "hyperseg_video.py"),
        ServedModel(contract.REFERRING, {p: _ensemble(plan) for p in Profile}),
        ServedModel(contract.PREPROCESS, {p: _preprocess(plan, p) for p in Profile}, "hyperseg_preprocess.py"),
        *(
            ServedModel(
                contract.stage_name(spec.name),
                {p: _stage(plan, spec, p) for p in Profile},
                "hyperseg_stage.py",
                spec.name,
            )
            for spec in plan.stages
        ),
        ServedModel(contract.MASKS, {p: _masks(plan, p) for p in Profile}, "hyperseg_masks.py"),
    ]


def _public(plan: Plan, profile: Profile) -> ModelConfig:
    config = _python(contract.PUBLIC, plan, profile, contract.PUBLIC_INPUTS, contract.PUBLIC_OUTPUTS)
    config.model_transaction_policy.decoupled = True
    image_graphs = opening.SERVED if profile is Profile.GPU else opening.IN_PROCESS
    config.parameters[opening.IMAGE_GRAPHS].string_value = image_graphs
    return config


def _video(plan: Plan) -> ModelConfig:
    """Frames of a stream in their order; which one a request belongs to is told by the sequence alone."""
    inputs = (contract.IMAGE.required(), contract.TEXT.required(), contract.OPTIONS)
    config = _named(contract.VIDEO, inputs, (contract.RESULT,))
    _run_by_python(config)
    batching = config.sequence_batching
    batching.oldest.max_candidate_sequences = plan.limits.max_streams
    batching.max_sequence_idle_microseconds = plan.limits.stream_idle_s * 1_000_000
    return config


def _preprocess(plan: Plan, profile: Profile) -> ModelConfig:
    inputs = (contract.IMAGE.required(), contract.TEXT.required())
    outputs = [tensor.in_batches_of_one() for tensor in _given_by_host(plan)]
    return _python(contract.PREPROCESS, plan, profile, inputs, (*outputs, contract.SIZE, contract.CHECKED_TEXT))


def _masks(plan: Plan, profile: Profile) -> ModelConfig:
    inputs = [tensor.in_batches_of_one() for tensor in _handed_on(plan)]
    outputs = (contract.RESULT,)
    return _python(contract.MASKS, plan, profile, (*inputs, contract.SIZE, contract.CHECKED_TEXT), outputs)


def _stage(plan: Plan, spec: GraphSpec, profile: Profile) -> ModelConfig:
    inputs, outputs = map(wire_tensor, spec.inputs), map(wire_tensor, spec.outputs)
    name = contract.stage_name(spec.name)
    largest = spec.axis_ranges[BATCH].maximum
    if profile is Profile.CPU:
        config = _python(name, plan, profile, tuple(inputs), tuple(outputs))
        config.parameters[opening.GRAPH].string_value = spec.name
    else:
        largest = plan.engine_batch.get(spec.name, largest)
        config = _named(name, tuple(inputs), tuple(outputs))
        config.platform = "tensorrt_plan"
        config.default_model_filename = "model.plan"
        config.dynamic_batching.default_queue_policy.CopyFrom(_queue(plan.limits))
        _capture_graphs(config, spec, largest)
    config.max_batch_size = largest
    config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_US
    for size in sorted({1, largest} if profile is Profile.GPU else {1}):
        config.model_warmup.append(_warmup(config, size))
    return config


def _capture_graphs(config: ModelConfig, spec: GraphSpec, largest: int) -> None:
    """A CUDA graph for a single image and one for a full batch: other sizes would read padding."""
    config.optimization.cuda.graphs = True
    for size in sorted({1, largest}):
        graph = config.optimization.cuda.graph_spec.add(batch_size=size)
        for tensor in map(wire_tensor, spec.inputs):
            graph.input[tensor.name].dim.extend(tensor.dims)


def _warmup(config: ModelConfig, batch_size: int) -> ModelWarmup:
    warmup = ModelWarmup(name=f"batch of {batch_size}", batch_size=batch_size)
    for tensor in config.input:
        warmup.inputs[tensor.name].data_type = tensor.data_type
        warmup.inputs[tensor.name].dims.extend(tensor.dims)
        warmup.inputs[tensor.name].zero_data = True
    return warmup


def _ensemble(plan: Plan) -> ModelConfig:
    """The fixed referring path. One entry step: see README on what servers before 26.05 do with two."""
    inputs, outputs = (contract.IMAGE.required(), contract.TEXT.required()), (contract.RESULT,)
    config = _named(contract.REFERRING, inputs, outputs)
    config.platform = "ensemble"
    _step(config, contract.PREPROCESS, inputs, (*_given_by_host(plan), contract.SIZE, contract.CHECKED_TEXT))
    for spec in plan.stages:
        tensors = [tuple(map(wire_tensor, side)) for side in (spec.inputs, spec.outputs)]
        _step(config, contract.stage_name(spec.name), *tensors)
    _step(config, contract.MASKS, (*_handed_on(plan), contract.SIZE, contract.CHECKED_TEXT), outputs)
    return config


def _step(config: ModelConfig, model: str, inputs: Sequence[WireTensor], outputs: Sequence[WireTensor]) -> None:
    """Tensors go by one name in the whole ensemble."""
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    for tensor in inputs:
        step.input_map[tensor.name] = tensor.name
    for tensor in outputs:
        step.output_map[tensor.name] = tensor.name


def _given_by_host(plan: Plan) -> list[WireTensor]:
    """Inputs of the stages that no stage makes."""
    made = {tensor.name for spec in plan.stages for tensor in spec.outputs}
    return [wire_tensor(t) for spec in plan.stages for t in spec.inputs if t.name not in made]


def _handed_on(plan: Plan) -> list[WireTensor]:
    """Outputs of the stages that no stage takes: what the other graphs work on."""
    taken = {tensor.name for spec in plan.stages for tensor in spec.inputs}
    return [wire_tensor(t) for spec in plan.stages for t in spec.outputs if t.name not in taken]


def _python(
    name: str, plan: Plan, profile: Profile, inputs: Sequence[WireTensor], outputs: Sequence[WireTensor]
) -> ModelConfig:
    config = _named(name, inputs, outputs)
    _run_by_python(config)
    config.dynamic_batching.default_queue_policy.CopyFrom(_queue(plan.limits))
    backend = "tensorrt" if profile is Profile.GPU else "onnxruntime"
    own = {opening.CONTRACT: opening.contract_id(plan.specs), opening.BACKEND: backend}
    for parameter, value in {**own, **plan.limits.to_parameters()}.items():
        config.parameters[parameter].string_value = value
    return config


def _run_by_python(config: ModelConfig) -> None:
    """One process. Without a kind the server would start one on every GPU, each with a language model, caches and
    streams of its own, of which the others know nothing. The kind keeps no process from using CUDA."""
    config.backend = "python"
    config.instance_group.add(count=1, kind=ModelInstanceGroup.KIND_CPU)


def _queue(limits: Limits) -> ModelQueuePolicy:
    """Bounded, and nobody waits for ever: a full or late queue answers UNAVAILABLE."""
    return ModelQueuePolicy(
        timeout_action=ModelQueuePolicy.REJECT,
        default_timeout_microseconds=limits.queue_timeout_ms * 1000,
        allow_timeout_override=True,
        max_queue_size=limits.max_queue,
    )


def _named(name: str, inputs: Sequence[WireTensor], outputs: Sequence[WireTensor]) -> ModelConfig:
    config = ModelConfig(name=name)
    for tensor in inputs:
        config.input.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, optional=tensor.optional)
    for tensor in outputs:
        config.output.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return config
