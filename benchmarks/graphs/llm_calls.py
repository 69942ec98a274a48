"""Calls of the exported language model as sessions make them, and of its rival form."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort

from hyperseg_runtime.backends.onnxruntime.backend import HostBuffer, OnnxRuntimeBackend, OnnxRuntimeGraph
from hyperseg_runtime.backends.onnxruntime.cpu_defaults import PROVIDERS, run_options, weight_bytes
from hyperseg_runtime.backends.onnxruntime.session import open_session
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.llm.packing import PackedPrompts, pack
from hyperseg_runtime.llm.prompt import IMAGE, LEARNED, Prompt, Slot, SlotKind

SEED = 0
FAMILY = "hyperseg"
"""Whose language model is measured."""


class Llm:
    """The exported graph on random embeddings."""

    def __init__(self, spec: GraphSpec, path: Path, threads: int) -> None:
        self.backend = OnnxRuntimeBackend(threads)
        self.spec = spec
        options = partial(self.backend.session_options, weight_bytes(path))
        self._session = open_session(spec, path, options, PROVIDERS)
        self._options = run_options(self.spec, low_memory=False)
        self.graph = OnnxRuntimeGraph(self.spec, self._session, self._options)
        names = list(self.spec.in_place.values())  # the caches
        specs = {tensor.name: tensor for tensor in self.spec.inputs}
        self.caches: dict[str, HostBuffer] = {n: self.backend.zeros(specs[n], {"batch": 1}) for n in names}
        context = specs[names[0]].axes[2]
        width = specs["inputs_embeds"].axes[2]
        self.context, self.width = int(context), int(width)
        self.table = np.random.default_rng(SEED).standard_normal((4096, self.width), np.float32)
        self.finite = True

    @classmethod
    def in_folder(cls, folder: Path, threads: int) -> "Llm":
        """With its contract beside it."""
        spec = GraphSpec.model_validate_json((folder / "spec.json").read_text())
        return cls(spec, graph_file(folder), threads)

    def inputs(self, packed: PackedPrompts, slots: int | None = None) -> dict[str, HostBuffer]:
        """`slots` of the cache are attended to: those in use unless told otherwise."""
        rows = [hash(row) % len(self.table) for row in packed.new_rows().rows]
        arrays = {
            "inputs_embeds": self.table[rows][None],
            "position_ids": packed.position_ids(),
            "attended_slots": packed.attended_slots(),
            "slot_numbers": np.arange(slots or packed.slots(self.backend.slot_step, self.context)),
            "write_indices": np.array([packed.first_slot], np.int64),
        }
        return {name: self.backend.upload(array) for name, array in arrays.items()}

    def hidden(self, packed: PackedPrompts, keep: bool) -> np.ndarray:
        found = self.graph.run({**self.inputs(packed), **self.caches})["hidden_states"].to_host()
        return found.copy() if keep else found

    def call(self, packed: PackedPrompts) -> float:
        """Seconds of the graph call with everything around it."""
        start = perf_counter()
        found = self.hidden(packed, False)
        seconds = perf_counter() - start
        self.finite = self.finite and bool(np.isfinite(found).all())
        return seconds

    def call_into(self, packed: PackedPrompts, others: dict[str, HostBuffer]) -> None:
        """As `call`, with the new caches in other memory, as plain calls would have it."""
        apart = OnnxRuntimeGraph(self.spec.model_copy(update={"in_place": {}}), self._session, self._options)
        apart.run({**self.inputs(packed), **others})


class GroupQueryLlm:
    """The same weights behind ONNX Runtime's own operator, caches bound in place too."""

    def __init__(self, folder: Path, llm: Llm, threads: int) -> None:
        options = llm.backend.session_options()
        self._session = ort.InferenceSession(graph_file(folder, "llm_gqa"), options, providers=["CPUExecutionProvider"])
        self._llm = llm
        self._caches = {name: llm.backend.upload(np.zeros_like(c.array)) for name, c in llm.caches.items()}

    def hidden(self, packed: PackedPrompts, keep: bool) -> np.ndarray:
        upload = self._llm.backend.upload
        inputs = {
            "inputs_embeds": self._llm.inputs(packed)["inputs_embeds"],
            "seqlens_k": upload(np.array([packed.last_slot - 1], np.int32)),
            "total_sequence_length": upload(np.array(packed.last_slot, np.int32)),
            **self._caches,
        }
        binding = self._session.io_binding()
        for name, buffer in inputs.items():
            binding.bind_ortvalue_input(name, buffer.value)
        binding.bind_output("hidden_states")
        for new, old in self._llm.spec.in_place.items():
            binding.bind_ortvalue_output(new, self._caches[old].value)
        self._session.run_with_iobinding(binding)
        found: np.ndarray = binding.get_outputs()[0].numpy()
        return found.copy() if keep else found


def prompt(expression_tokens: int) -> Prompt:
    """The referring prompt's lengths (hyperseg-spec 4.5) with an expression of its own."""
    ids = iter(range(10**6))

    def text(count: int, kind: SlotKind = SlotKind.TEXT) -> Slot:
        return Slot.text([next(ids) for _ in range(count)], kind)

    before = (
        text(36),
        Slot.block(SlotKind.IMAGE, 729, IMAGE),
        text(1),
        Slot.block(SlotKind.PERCEIVER, 128, IMAGE),
        text(16),
    )
    own = Slot.text([expression_tokens * 1000 + i for i in range(expression_tokens)], SlotKind.CONDITION)
    return Prompt((*before, own, text(15), Slot.block(SlotKind.MASK_QUERIES, 100, LEARNED)))


def one(asked: Prompt, held: tuple[Any, ...]) -> PackedPrompts:
    (packed,) = pack([asked], held, 10**6)
    return packed


def decode_steps(asked: Prompt, count: int) -> list[PackedPrompts]:
    longer = [Prompt((*asked.slots, Slot.text(list(range(9, 9 + n))))) for n in range(count + 1)]
    plain = [
        Prompt((Slot.block(SlotKind.IMAGE, p.length - n, IMAGE), *p.slots[len(asked.slots) :]))
        for n, p in enumerate(longer)
    ]
    return [one(new, old.rows) for old, new in pairwise(plain)]


def graph_file(folder: Path, name: str = "llm") -> Path:
    return folder / "graphs" / f"{name}.onnx"
