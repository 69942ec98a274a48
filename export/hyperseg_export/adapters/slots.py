"""An adapter kept apart from the weights it changes: where its factors lie, and how they are filled.

Export and swap write the same file with the same function. The initializer names in an `AdapterEntry` do
not depend on the adapter, so an engine can be refitted with `factor_values` by those names.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from hyperseg_export.checkpoint.key_map import pack, same
from hyperseg_export.checkpoint.lora import Adapter, MergedCheckpoint
from hyperseg_export.checkpoint.weights import Weights
from hyperseg_export.model import SourceModel
from hyperseg_export.modules.linear import Linear, adapt
from hyperseg_export.onnx.weight_store import Location, aligned
from hyperseg_runtime.bundle.manifest import AdapterEntry, AdapterFactor, AdapterSlot, kind_of
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.files.writing import fsync_file

EXPORT_AGAIN = "export again with --keep-adapter and this adapter"


@dataclass(frozen=True)
class KeptAdapter:
    """A model whose language model has an adapter beside its weights, and that adapter."""

    model: SourceModel
    entry: AdapterEntry
    adapters: Mapping[str, Adapter]

    def placed(self, graph: str) -> dict[str, Location]:
        """Factor name -> where it lies, for the factors of this graph."""
        if graph != self.entry.graph:
            return {}
        file = Path(self.entry.file).name
        return {factor.name: Location(file, factor.offset, factor.size_bytes) for factor in self.entry.factors}


def keep_apart(model: SourceModel, checkpoint: MergedCheckpoint) -> KeptAdapter:
    """The same model with the checkpoint's adapter as weights of its own.

    Every layer gets room for what the adapter changes in any layer, at the highest rank it has there. Raises
    CheckpointError if there is no adapter, or if it changes what is not a linear layer of the language model.
    """
    if not checkpoint.adapters:
        raise CheckpointError(
            f"checkpoint {checkpoint.base.directory}: no adapter was found to keep apart; "
            "name its folder with --adapter"
        )
    entry = _plan_slots(model, checkpoint)
    shapes = {factor.name: factor.shape for factor in entry.factors}
    ranks = {slot.down.removesuffix(".down"): shapes[slot.down][1] for slot in entry.slots}
    build = model.definition.build_graph

    def build_graph(name: str) -> nn.Module:
        return adapt(build(name), ranks) if name == entry.graph else build(name)

    base = replace(checkpoint, adapters={})
    definition = replace(model.definition, build_graph=build_graph)
    adapted = replace(model, definition=definition, weights=Weights(base, model.key_map))
    return KeptAdapter(adapted, filled(entry, checkpoint.adapters), checkpoint.adapters)


def filled(entry: AdapterEntry, adapters: Mapping[str, Adapter]) -> AdapterEntry:
    """The entry with these adapters in its slots. Raises CheckpointError for one that has no room there."""
    slots = {slot.weight: slot for slot in entry.slots}
    inputs = {factor.name: factor.shape[0] for factor in entry.factors}
    kinds = ", ".join(dict.fromkeys(kind_of(weight) for weight in slots))
    for weight, adapter in adapters.items():
        slot = slots.get(weight)
        if slot is None:
            raise CheckpointError(
                f"adapter: it changes {weight}, for which the bundle has no slot; its slots are {kinds}; {EXPORT_AGAIN}"
            )
        expected = (slot.outputs[1] - slot.outputs[0], inputs[slot.down])
        if adapter.shape != expected:
            raise CheckpointError(
                f"adapter: it is made for {weight} of shape {adapter.shape}, the bundle's has {expected}; "
                "it belongs to another model"
            )
        if adapter.rank > slot.capacity:
            raise CheckpointError(
                f"adapter: rank {adapter.rank} for {weight}, the bundle has room for rank {slot.capacity}; "
                f"{EXPORT_AGAIN}"
            )
    ranks = {weight: adapter.rank for weight, adapter in adapters.items()}
    updated = (slot.model_copy(update={"rank": ranks.get(slot.weight, 0)}) for slot in entry.slots)
    return entry.model_copy(update={"slots": tuple(updated)})


def factor_values(entry: AdapterEntry, factor: AdapterFactor, adapters: Mapping[str, Adapter]) -> np.ndarray:
    """One initializer, float32 (inputs, ranks) or (ranks, outputs); zero where `adapters` have nothing."""
    values = np.zeros(factor.shape, np.float32)
    for slot in entry.slots:
        if slot.weight not in adapters or factor.name not in (slot.down, slot.up):
            continue
        down, up = adapters[slot.weight].factors()
        ranks = slice(slot.ranks[0], slot.ranks[0] + len(down))
        if factor.name == slot.down:
            values[:, ranks] = down.numpy().T
        else:
            values[ranks, slice(*slot.outputs)] = up.numpy().T
    return values


def write_factors(path: Path, entry: AdapterEntry, adapters: Mapping[str, Adapter]) -> None:
    """The adapter's data file: every factor at its offset."""
    with path.open("wb") as file:
        for factor in entry.factors:
            file.write(bytes(factor.offset - file.tell()))
            file.write(factor_values(entry, factor, adapters).data)
        fsync_file(file)


@dataclass(frozen=True)
class _Home:
    """Where a published weight lies in a linear layer of ours: these of its outputs."""

    linear: str
    shape: tuple[int, int]  # of the whole layer: (in, out)
    outputs: tuple[int, int]


def _plan_slots(model: SourceModel, checkpoint: MergedCheckpoint) -> AdapterEntry:
    graph = _language_model(model.specs)
    homes = _homes(model, graph, checkpoint)
    ranks: dict[str, int] = {}
    for weight, adapter in checkpoint.adapters.items():
        if weight not in homes:
            raise CheckpointError(
                f"adapter: it changes {weight}, which is no linear layer of the language model and cannot be kept "
                "apart; export without --keep-adapter, which merges it"
            )
        ranks[kind_of(weight)] = max(adapter.rank, ranks.get(kind_of(weight), 0))
    slots: list[AdapterSlot] = []
    used: dict[str, tuple[_Home, int]] = {}  # linear -> one of its homes, its ranks so far
    for weight, home in homes.items():
        if kind_of(weight) in ranks:
            start = used[home.linear][1] if home.linear in used else 0
            stop = start + ranks[kind_of(weight)]
            used[home.linear] = (home, stop)
            slots.append(
                AdapterSlot(
                    weight=weight,
                    down=f"{home.linear}.down",
                    up=f"{home.linear}.up",
                    ranks=(start, stop),
                    outputs=home.outputs,
                    rank=0,
                )
            )
    factors: list[AdapterFactor] = []
    end = 0
    for linear, (home, count) in used.items():
        for name, shape in (("down", (home.shape[0], count)), ("up", (count, home.shape[1]))):
            offset = aligned(end, 4 * math.prod(shape))
            factors.append(AdapterFactor(name=f"{linear}.{name}", shape=shape, offset=offset))
            end = offset + factors[-1].size_bytes
    return AdapterEntry(graph=graph, file=f"graphs/{graph}.adapter.data", factors=tuple(factors), slots=tuple(slots))


def _language_model(specs: Sequence[GraphSpec]) -> str:
    """The graph that updates a cache."""
    return next(spec.name for spec in specs if spec.in_place)


def _homes(model: SourceModel, graph: str, checkpoint: MergedCheckpoint) -> dict[str, _Home]:
    """Published weight -> where it lies, for every linear layer of `graph` that is whole weights side by side."""
    homes: dict[str, _Home] = {}
    for path, part in model.module(graph).named_modules():
        if not isinstance(part, Linear):
            continue
        origin = model.key_map.origins[f"{path}.weight"]
        if origin.transform not in (same, pack):
            continue
        start = 0
        for source in origin.sources:
            stop = start + checkpoint.shapes[source][0]
            homes[source] = _Home(path, (part.weight.shape[0], part.weight.shape[1]), (start, stop))
            start = stop
    return homes
