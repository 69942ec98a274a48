"""LoRA adapters (arXiv 2106.09685) in peft's layout, and checkpoints that come out merged: W + scale * B A."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, float32

from hyperseg_export.checkpoint.folder import Checkpoint, read_json
from hyperseg_export.checkpoint.names import plain_name, plain_names
from hyperseg_export.checkpoint.reading import StoredTensors
from hyperseg_export.checkpoint.unread import ADAPTER_WEIGHTS, refuse_unread
from hyperseg_runtime.contracts.numbers import is_number
from hyperseg_runtime.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"
OLD_WEIGHTS = "adapter_model.bin"
RELEASE_ALPHA = 16.0
"""HyperSeg's and InstructSeg's training value, for adapter tensors that come without a config."""

UNSUPPORTED = (
    "use_dora",
    "fan_in_fan_out",
    "modules_to_save",
    "alora_invocation_tokens",
    "lora_bias",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
"""Settings of peft (0.21's LoraConfig) that change what an adapter computes in ways this merge does not know."""
PLAIN_INITIALISATIONS = (True, False, "gaussian", "eva", "orthogonal")
"""Others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) move part of the base weights into the factors."""

FACTOR = re.compile(r"(?P<target>.+)\.lora_(?P<letter>[AB])(\.[^.]+)?\.weight")
"""Older peft puts the adapter's name, such as "default", after the letter."""
LAYER = re.compile(r"\.(\d+)\.")
RANKS, ALPHAS = "rank_pattern", "alpha_pattern"
"""Other ranks and alphas of some modules, by the end of their names."""
PATTERN = re.compile(r"\^?[\w.]+\$?")
"""Keys of those that are read. peft takes any regular expression; one of a stranger's may never end."""


@dataclass(frozen=True)
class Adapter:
    """The two factors of one weight and their scale; `holder` is the checkpoint that stores them."""

    holder: StoredTensors
    down: str  # A, (rank, in)
    up: str  # B, (out, rank)
    scale: float

    @property
    def rank(self) -> int:
        return self.holder.shapes[self.down][0]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight it belongs to: (out, in)."""
        return self.holder.shapes[self.up][0], self.holder.shapes[self.down][1]

    def factors(self) -> tuple[Tensor, Tensor]:
        """A (rank, in) and scale * B (out, rank), float32. Raises CheckpointError for NaN and infinite values."""
        down, up = self.holder.tensor(self.down).to(float32), self.holder.tensor(self.up).to(float32)
        for name, factor in ((self.down, down), (self.up, up)):
            if not factor.isfinite().all():
                raise CheckpointError(f"adapter: {name} holds NaN or infinite values; its training or its file failed")
        return down, self.scale * up

    def delta(self) -> Tensor:
        """scale * B A in float32, (out, in)."""
        down, up = self.factors()
        return up @ down


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter on its own, as peft saves it."""

    adapters: Mapping[str, Adapter]
    """plain name of the adapted weight -> adapter"""
    sha256: str

    @classmethod
    def open(cls, folder: Path, beside: Iterable[Path] = ()) -> "AdapterFolder":
        """Raises CheckpointError for what is no plain LoRA adapter; whether it fits a model is not asked here.

        `beside` are weights that are read, too; others in the folder are an error.
        """
        settings = _Settings.read(folder)
        holder = Checkpoint(folder, dict(settings.config))  # the fingerprint covers the settings
        holder.add_file(folder / ADAPTER_WEIGHTS)
        refuse_unread(folder, (folder / ADAPTER_WEIGHTS, *beside))
        adapters = _paired(holder, {plain_name(name): name for name in holder.shapes}, settings)
        return cls(adapters, holder.fingerprint())


@dataclass
class MergedCheckpoint:
    """A checkpoint whose adapted weights come out merged (as float32); everything else as stored."""

    base: StoredTensors
    names: dict[str, str]
    """plain name -> name in the base checkpoint"""
    adapters: dict[str, Adapter] = field(default_factory=dict)
    """plain name of the adapted weight -> adapter"""
    adapter_sha256: str | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {plain: self.base.shapes[stored] for plain, stored in self.names.items()}

    def tensor(self, name: str) -> Tensor:
        stored = self.base.tensor(self.names[name])
        if name not in self.adapters:
            return stored
        return stored.to(float32) + self.adapters[name].delta()

    def bytes_of(self, name: str) -> int:
        return self.base.bytes_of(self.names[name])


def with_adapters(checkpoint: StoredTensors, adapter_directory: Path | None = None) -> MergedCheckpoint:
    """Find adapters and fold them in.

    An adapter is looked for in the shards themselves (peft's wrapped names), then as adapter files: in
    `adapter_directory` if given, else, where the checkpoint was named as a folder, in it or in one directly inside it.
    Raises CheckpointError for an adapter that does not fit, or when several are found.
    """
    merged = MergedCheckpoint(checkpoint, {})
    wrapped: dict[str, str] = {}
    for stored, plain in plain_names(checkpoint.shapes).items():
        group = wrapped if FACTOR.fullmatch(plain) else merged.names
        if plain in group:
            raise CheckpointError(f"checkpoint: {plain} is stored twice, as {group[plain]} and as {stored}")
        group[plain] = stored
    folder = adapter_directory or (_find_adapter(checkpoint.folder) if checkpoint.folder else None)
    if wrapped and folder and (folder / ADAPTER_WEIGHTS).is_file():
        raise CheckpointError(f"checkpoint: adapters both in the shards and in {folder}; keep one of them")
    if wrapped:
        settings = _Settings.read(folder) if folder else _Settings({})
        merged.adapters = _paired(checkpoint, wrapped, settings)
        merged.adapter_sha256 = settings.sha256()  # the factors are part of the checkpoint's own fingerprint
    elif folder:
        opened = AdapterFolder.open(folder, checkpoint.files)
        merged.adapters, merged.adapter_sha256 = dict(opened.adapters), opened.sha256
    _check_fit(merged)
    return merged


@dataclass(frozen=True)
class _Settings:
    """What adapter_config.json says."""

    config: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "_Settings":
        config = read_json(folder / ADAPTER_CONFIG)
        file = folder / ADAPTER_CONFIG
        for key in UNSUPPORTED:
            if config.get(key):
                raise CheckpointError(f"{file}: {key} is not supported; merge it with peft first")
        if config.get("peft_type", "LORA") != "LORA":
            raise CheckpointError(f"{file}: peft_type {config['peft_type']} is not LORA")
        start = config.get("init_lora_weights", True)
        if start not in PLAIN_INITIALISATIONS:
            raise CheckpointError(
                f"{file}: init_lora_weights {start!r} changes the base weights too; merge it with peft first"
            )
        if config.get("bias") not in (None, "none"):
            raise CheckpointError(f"{file}: bias {config['bias']!r} trains biases, too; merge it with peft first")
        alpha = config.get("lora_alpha")
        if not is_number(alpha):
            raise CheckpointError(f"{file}: lora_alpha is {alpha!r}, expected a number")
        for name in (RANKS, ALPHAS):
            patterns = config.get(name) or {}
            if not isinstance(patterns, dict) or not all(map(is_number, patterns.values())):
                raise CheckpointError(f"{file}: {name} is {patterns!r}, expected numbers by the names of modules")
            for pattern in patterns:
                if not PATTERN.fullmatch(pattern):
                    raise CheckpointError(f"{file}: {name} has the key {pattern!r}, which is no name; merge with peft")
        return cls(config)

    def require_meant(self, target: str) -> None:
        """Raise CheckpointError for an adapted weight that the settings leave out: peft would ignore its factors."""
        layers, excluded = self.config.get("layers_to_transform"), self.config.get("exclude_modules")
        layer = LAYER.search(target)
        if layers is not None and layer and int(layer[1]) not in (layers if isinstance(layers, list) else [layers]):
            raise CheckpointError(f"adapter: it changes {target}, but layers_to_transform is {layers}; which one?")
        module = target.removesuffix(".weight")
        if isinstance(excluded, list) and any(module == end or module.endswith(f".{end}") for end in excluded):
            raise CheckpointError(f"adapter: it changes {target}, but exclude_modules is {excluded}; which one?")

    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()

    def scale(self, target: str, rank: int) -> float:
        """Of the factors of one weight."""
        stated = self._of(target, RANKS, self.config.get("r"))
        if stated is not None and stated != rank:
            raise CheckpointError(
                f"adapter, {target}: {ADAPTER_CONFIG} says rank {stated}, the tensors have {rank} (r, {RANKS})"
            )
        alpha = float(self._of(target, ALPHAS, self.config.get("lora_alpha", RELEASE_ALPHA)))
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _of(self, target: str, patterns: str, otherwise: Any) -> Any:
        """As peft 0.21 chooses (`get_pattern_key`): by the first pattern that the module's name ends with."""
        module = target.removesuffix(".weight")
        found = (value for key, value in (self.config.get(patterns) or {}).items() if _ends(key, module))
        return next(found, otherwise)

    def require_used(self, targets: Iterable[str]) -> None:
        """Raise CheckpointError for a pattern that is about no adapted weight: its name may be one that is read
        differently here.
        """
        modules = [target.removesuffix(".weight") for target in targets]
        for patterns in (RANKS, ALPHAS):
            for key in self.config.get(patterns) or {}:
                if not any(_ends(key, module) for module in modules):
                    raise CheckpointError(f"adapter: {patterns} names {key}, which is no weight that it changes")


def _ends(pattern: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", module) is not None


def _paired(holder: StoredTensors, names: Mapping[str, str], settings: _Settings) -> dict[str, Adapter]:
    """Adapters by weight from the factors in `names` (plain -> stored in `holder`)."""
    factors: dict[str, dict[str, str]] = {}
    for plain, stored in names.items():
        factor = FACTOR.fullmatch(plain)
        if not factor:
            raise CheckpointError(
                f"adapter: {stored} is no LoRA factor; expected names ending in .lora_A.weight or .lora_B.weight"
            )
        pair = factors.setdefault(factor["target"] + ".weight", {})
        if factor["letter"] in pair:
            raise CheckpointError(
                f"adapter: {stored} and {pair[factor['letter']]} are the same factor; keep one of the adapters"
            )
        pair[factor["letter"]] = stored
    if not factors:
        raise CheckpointError(f"adapter {holder.directory}: it holds no tensors")
    adapters = {}
    for target, pair in sorted(factors.items()):
        settings.require_meant(target)
        if set(pair) != {"A", "B"}:
            raise CheckpointError(f"adapter: {target} has factor {'/'.join(sorted(pair))} only, needs A and B")
        down, up = holder.shapes[pair["A"]], holder.shapes[pair["B"]]
        if len(down) != 2 or len(up) != 2 or up[1] != down[0] or 0 in (*down, *up):
            raise CheckpointError(f"adapter: factors A {down} and B {up} do not fit each other ({target})")
        adapters[target] = Adapter(holder, pair["A"], pair["B"], settings.scale(target, down[0]))
    settings.require_used(adapters)
    return adapters


def _check_fit(merged: MergedCheckpoint) -> None:
    for target, adapter in merged.adapters.items():
        if target not in merged.names:
            raise CheckpointError(f"adapter: it changes {target}, which the checkpoint does not have")
        weight = merged.base.shapes[merged.names[target]]
        if adapter.shape != weight:
            down, up = adapter.holder.shapes[adapter.down], adapter.holder.shapes[adapter.up]
            raise CheckpointError(f"adapter: factors A {down} and B {up} do not fit {target} {weight}")


def _find_adapter(directory: Path) -> Path | None:
    """Also one of which a part is missing or cannot be read: opening it says so, leaving it out would not."""
    if _holds_adapter(directory):
        return directory
    inside = sorted(folder for folder in directory.iterdir() if folder.is_dir() and _holds_adapter(folder))
    if len(inside) > 1:
        names = ", ".join(path.name for path in inside)
        raise CheckpointError(f"checkpoint {directory}: several adapters inside ({names}); choose one with --adapter")
    return inside[0] if inside else None


def _holds_adapter(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, OLD_WEIGHTS))
