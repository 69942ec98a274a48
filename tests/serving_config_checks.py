"""Whether configurations fit each other: what a server finds out late, or never says."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

Tensor = tuple[int, tuple[int, ...]]


def read_configs(repository: Path, profile: str) -> dict[str, ModelConfig]:
    """By folder, as a server with this profile reads them; text_format.ParseError for what the schema refuses."""
    found = {}
    for folder in repository.iterdir():
        chosen = folder / "configs" / f"{profile}.pbtxt"
        path = chosen if chosen.is_file() else folder / "config.pbtxt"
        found[folder.name] = text_format.Parse(path.read_text(), ModelConfig())
    return found


def problems(configs: Mapping[str, ModelConfig]) -> Iterator[str]:
    for folder, config in configs.items():
        if folder != config.name:
            yield f"{folder} holds {config.name}"
        if not (config.platform or config.backend):
            yield f"{folder}: nobody runs it"
        if config.HasField("ensemble_scheduling"):
            yield from _ensemble_problems(config, configs)
            if config.ensemble_scheduling.max_inflight_requests:
                yield f"{folder}: max_inflight_requests is newer than 25.10"
        elif not (
            config.HasField("sequence_batching")
            or config.model_transaction_policy.decoupled  # its own line is bounded
            or config.dynamic_batching.default_queue_policy.max_queue_size
        ):
            yield f"{folder}: the queue has no bound"
        kinds = {group.kind for group in config.instance_group}
        if kinds - ({ModelInstanceGroup.KIND_CPU} if config.backend == "python" else set()):
            yield f"{folder}: a kind of instance keeps it from one of the profiles, or runs it on every GPU"
        if any(control.name == "CORRID" for control in config.sequence_batching.control_input):
            yield f"{folder}: a correlation id as a control tensor fails in 24.10"


def _ensemble_problems(config: ModelConfig, configs: Mapping[str, ModelConfig]) -> Iterator[str]:
    known = {tensor.name: _tensor(tensor) for tensor in config.input}
    given = set(known)
    entries = 0
    for step in config.ensemble_scheduling.step:
        if step.model_name not in configs:
            yield f"there is no model {step.model_name}"
            continue
        model = configs[step.model_name]
        batched = model.max_batch_size > 0
        inputs = {tensor.name: _tensor(tensor, batched) for tensor in model.input}
        outputs = {tensor.name: _tensor(tensor, batched) for tensor in model.output}
        entries += set(step.input_map.values()) <= given
        if set(step.input_map) != {tensor.name for tensor in model.input if not tensor.optional}:
            yield f"{step.model_name}: mapped are {set(step.input_map)}, inputs are {set(inputs)}"
        for own, name in step.input_map.items():
            if name not in known:
                yield f"{step.model_name}: nobody makes {name}"
            elif not _fits(known[name], inputs[own]):
                yield f"{step.model_name}: {name} is {known[name]}, wanted is {inputs[own]}"
        for own, name in step.output_map.items():
            if name in known:
                yield f"{name} is made twice"
            known[name] = outputs[own]
    if entries != 1:
        yield f"{entries} steps begin at once: a malformed request ends servers before 26.05"
    yield from (f"nobody makes {t.name}" for t in config.output if known.get(t.name) != _tensor(t))


def _tensor(tensor: object, batched: bool = False) -> Tensor:
    dims = tuple(tensor.dims)  # type: ignore[attr-defined]
    return tensor.data_type, (-1, *dims) if batched else dims  # type: ignore[attr-defined]


def _fits(made: Tensor, wanted: Tensor) -> bool:
    sizes = zip(made[1], wanted[1], strict=False)
    return made[0] == wanted[0] and len(made[1]) == len(wanted[1]) and all(a == b or -1 in (a, b) for a, b in sizes)
