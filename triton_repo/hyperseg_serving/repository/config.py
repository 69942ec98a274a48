"""The configuration of every served model, as the server's own protobuf messages, from the bundle's contracts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup, ModelQueuePolicy, ModelWarmup

from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_serving import contract
from hyperseg_serving.contract import BATCH, Limits, Profile, WireTensor, typical_sizes, wire_tensor
from hyperseg_serving.names import ModelNames
from hyperseg_serving.service import parameters

QUEUE_DELAY_US = 1000
"""How long a stage may wait for others to share a call with; little beside the call itself."""


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
class RepositorySpec:
    """What the configurations are made from."""

    family: FamilySpec
    graphs: Sequence[GraphSpec]
    limits: Limits = field(default_factory=Limits)
    engine_batch: Mapping[str, int] = field(default_factory=dict)
    """Largest batch of a graph's engine; without an entry the contract's own."""
    unmeasured: Sequence[str] = ()
    """Graphs whose engines are served although they were never compared with them."""
    ungated: Sequence[str] = ()
    """Quantised graphs that are served although they passed no task metric."""

    @property
    def names(self) -> ModelNames:
        return ModelNames(self.family)

    @property
    def stages(self) -> list[GraphSpec]:
        """Graphs that look at the image alone: feed-forward, and worth a model each."""
        return [graph for graph in self.graphs if graph.reuse is Reuse.IMAGE]

    def stage_inputs(self) -> list[WireTensor]:
        """Inputs of the stages that no stage makes."""
        made = {tensor.name for graph in self.stages for tensor in graph.outputs}
        return [wire_tensor(t) for graph in self.stages for t in graph.inputs if t.name not in made]

    def stage_outputs(self) -> list[WireTensor]:
        """What the last step works on."""
        return [wire_tensor(tensor) for tensor in self.family.computed_outputs(self.graphs)]


def served_models(spec: RepositorySpec) -> list[ServedModel]:
    """Everything of a repository: video and ensemble only where the family declares what they answer."""
    names = spec.names
    models = [ServedModel(names.public, {p: _public(spec, p) for p in Profile}, "public.py")]
    if names.video:
        models.append(ServedModel(names.video, {p: _video(spec, names.video) for p in Profile}, "video.py"))
    if names.ensemble:
        models += [
            ServedModel(names.ensemble, {p: _ensemble(spec, names.ensemble) for p in Profile}),
            ServedModel(names.preprocess, {p: _preprocess(spec, p) for p in Profile}, "preprocess.py"),
            ServedModel(names.masks, {p: _masks(spec, p) for p in Profile}, "masks.py"),
        ]
    stages = [
        ServedModel(names.stage(graph.name), {p: _stage(spec, graph, p) for p in Profile}, "stage.py", graph.name)
        for graph in spec.stages
    ]
    return models + stages


def _public(spec: RepositorySpec, profile: Profile) -> ModelConfig:
    inputs, outputs = contract.public_inputs(spec.family), contract.public_outputs(spec.family)
    config = _python(spec.names.public, spec, profile, inputs, outputs)
    config.model_transaction_policy.decoupled = True
    # The model takes whatever comes at once and keeps its own line (service/desk.py), which refuses and counts. With a
    # queue of the server's before it most requests of a busy server wait for exactly 500 ms: its batcher misses the
    # notice that the model is free (24.10; the code is the same in June 2026: core, dynamic_batch_scheduler.cc).
    config.ClearField("dynamic_batching")
    config.parameters[parameters.IMAGE_GRAPHS].string_value = parameters.IN_PROCESS
    return config


def _video(spec: RepositorySpec, name: str) -> ModelConfig:
    """Frames of a stream in their order; which one a request belongs to is told by the sequence alone."""
    config = _named(name, spec, contract.frame_inputs(), (contract.RESULT,))
    _run_by_python(config)
    _set_parameters(config, spec.limits.to_parameters())
    batching = config.sequence_batching
    batching.oldest.max_candidate_sequences = spec.limits.max_streams
    batching.max_sequence_idle_microseconds = spec.limits.stream_idle_s * 1_000_000
    return config


def _preprocess(spec: RepositorySpec, profile: Profile) -> ModelConfig:
    inputs = (contract.IMAGE.required(), contract.TEXT.required())
    outputs = [tensor.in_batches_of_one() for tensor in spec.stage_inputs()]
    return _python(spec.names.preprocess, spec, profile, inputs, (*outputs, contract.SIZE, contract.CHECKED_TEXT))


def _masks(spec: RepositorySpec, profile: Profile) -> ModelConfig:
    inputs = [tensor.in_batches_of_one() for tensor in spec.stage_outputs()]
    outputs = (contract.RESULT,)
    return _python(spec.names.masks, spec, profile, (*inputs, contract.SIZE, contract.CHECKED_TEXT), outputs)


def _stage(spec: RepositorySpec, graph: GraphSpec, profile: Profile) -> ModelConfig:
    inputs, outputs = tuple(map(wire_tensor, graph.inputs)), tuple(map(wire_tensor, graph.outputs))
    name = spec.names.stage(graph.name)
    largest = graph.axis_ranges[BATCH].maximum
    if profile is Profile.CPU:
        config = _python(name, spec, profile, inputs, outputs)
    else:
        largest = spec.engine_batch.get(graph.name, largest)
        config = _named(name, spec, inputs, outputs)
        config.platform = "tensorrt_plan"
        config.default_model_filename = "model.plan"
        config.dynamic_batching.default_queue_policy.CopyFrom(_queue(spec.limits))
        # Full batches are those that a CUDA graph was recorded for; what has waited long enough goes as it is.
        config.dynamic_batching.preferred_batch_size.extend([largest] if largest > 1 else [])
        _capture_graphs(config, graph, largest)
    config.parameters[parameters.GRAPH].string_value = graph.name
    config.max_batch_size = largest
    config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_US
    for size in sorted({1, largest} if profile is Profile.GPU else {1}):
        config.model_warmup.append(_warm_up(graph, size))
    return config


def _capture_graphs(config: ModelConfig, graph: GraphSpec, largest: int) -> None:
    """A CUDA graph for a single image and one for a full batch: other sizes would read padding."""
    config.optimization.cuda.graphs = True
    sizes = typical_sizes(graph)
    for batch_size in sorted({1, largest}):
        captured = config.optimization.cuda.graph_spec.add(batch_size=batch_size)
        for tensor in graph.inputs:
            captured.input[tensor.name].dim.extend(tensor.shape(sizes)[1:])


def _warm_up(graph: GraphSpec, batch_size: int) -> ModelWarmup:
    warm_up = ModelWarmup(name=f"batch of {batch_size}", batch_size=batch_size)
    sizes = typical_sizes(graph)
    for tensor in graph.inputs:
        warm_up.inputs[tensor.name].data_type = DataType.Value(wire_tensor(tensor).data_type)
        warm_up.inputs[tensor.name].dims.extend(tensor.shape(sizes)[1:])
        warm_up.inputs[tensor.name].zero_data = True
    return warm_up


def _ensemble(spec: RepositorySpec, name: str) -> ModelConfig:
    """The fixed path for expressions. One entry step: see README on what servers before 26.05 do with two."""
    inputs, outputs = (contract.IMAGE.required(), contract.TEXT.required()), (contract.RESULT,)
    config = _named(name, spec, inputs, outputs)
    config.platform = "ensemble"
    _step(config, spec.names.preprocess, inputs, (*spec.stage_inputs(), contract.SIZE, contract.CHECKED_TEXT))
    for graph in spec.stages:
        tensors = [tuple(map(wire_tensor, side)) for side in (graph.inputs, graph.outputs)]
        _step(config, spec.names.stage(graph.name), *tensors)
    _step(config, spec.names.masks, (*spec.stage_outputs(), contract.SIZE, contract.CHECKED_TEXT), outputs)
    return config


def _step(config: ModelConfig, model: str, inputs: Sequence[WireTensor], outputs: Sequence[WireTensor]) -> None:
    """Tensors go by one name in the whole ensemble."""
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    for tensor in inputs:
        step.input_map[tensor.name] = tensor.name
    for tensor in outputs:
        step.output_map[tensor.name] = tensor.name


def _python(
    name: str, spec: RepositorySpec, profile: Profile, inputs: Sequence[WireTensor], outputs: Sequence[WireTensor]
) -> ModelConfig:
    config = _named(name, spec, inputs, outputs)
    _run_by_python(config)
    config.dynamic_batching.default_queue_policy.CopyFrom(_queue(spec.limits))
    backend = "tensorrt" if profile is Profile.GPU else "onnxruntime"
    own = {parameters.CONTRACT: parameters.contract_id(spec.graphs), parameters.BACKEND: backend}
    if spec.unmeasured:
        own[parameters.UNMEASURED] = ",".join(spec.unmeasured)
    if spec.ungated:
        own[parameters.UNGATED] = ",".join(spec.ungated)
    _set_parameters(config, {**own, **spec.limits.to_parameters()})
    return config


def _set_parameters(config: ModelConfig, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        config.parameters[name].string_value = value


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


def _named(name: str, spec: RepositorySpec, inputs: Sequence[WireTensor], outputs: Sequence[WireTensor]) -> ModelConfig:
    config = ModelConfig(name=name)
    config.parameters[parameters.FAMILY].string_value = spec.family.name
    for tensor in inputs:
        config.input.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, optional=tensor.optional)
    for tensor in outputs:
        config.output.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return config
