"""Steps of a stage: optimiser, schedule, checkpoints that survive, resume."""

import io
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperseg_export.families.hyperseg.training.auxiliary import Auxiliaries
from hyperseg_runtime.files.writing import write_atomically

Losses = Callable[[int], Mapping[str, Tensor]]
"""From the number of the step to losses by name, and what is only `REPORTED`."""
REPORTED = ("iou", "right")
"""How the names of such figures end."""
STATE, LOG = "state.pt", "log.jsonl"


@dataclass(frozen=True)
class Stage:
    """`weights` scales losses by name (1 where absent); `rate` is the largest learning rate."""

    name: str
    steps: int
    rate: float
    trained: tuple[str, ...] | None
    """Published tensors that learn, by name or by the part they belong to; None: all. The auxiliaries always do."""
    weights: Mapping[str, float] = field(default_factory=dict)
    warmup: int = 60
    decay: float = 0.02
    clip: float = 1.0
    final: float = 0.03
    """Part of `rate` at the end of the cosine."""

    def trains(self, name: str) -> bool:
        return self.trained is None or any(name == part or name.startswith(f"{part}.") for part in self.trained)


@dataclass
class Trainee:
    """Everything that learns."""

    tensors: dict[str, Tensor]
    auxiliaries: Auxiliaries

    def state(self) -> dict[str, Any]:
        return {"tensors": self.tensors, "auxiliaries": self.auxiliaries.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, tensor in state["tensors"].items():
                self.tensors[name].copy_(tensor)
        self.auxiliaries.load_state_dict(state["auxiliaries"], strict=False)


def run_stage(
    stage: Stage, trainee: Trainee, losses: Losses, folder: Path,
    tell: Callable[[int, Mapping[str, float]], None] = lambda step, means: None,
    save_every_s: float = 120, report_every: int = 50,
) -> None:  # fmt: skip
    """Train to the end of `stage`, going on from `folder`/state.pt if it is of this stage.

    The state is written whole or not at all. A stage is the same whether it was stopped or not: what a step sees
    depends on its number alone.
    """
    learning = [
        tensor.requires_grad_(stage.trains(name) and tensor.is_floating_point())
        for name, tensor in trainee.tensors.items()
    ]
    parameters = [*(t for t in learning if t.requires_grad), *trainee.auxiliaries.parameters()]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": stage.decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=stage.rate, betas=(0.9, 0.98))
    first = _resume(stage, trainee, optimiser, folder)
    cpu_before = cpu_seconds(folder) - time.process_time()
    saved = time.monotonic()
    recent: list[dict[str, float]] = []
    for step in range(first, stage.steps):
        for group in optimiser.param_groups:
            group["lr"] = stage.rate * schedule(step, stage)
        made = losses(step)
        total = torch.stack(
            [stage.weights.get(n, 1.0) * loss for n, loss in made.items() if not n.endswith(REPORTED)]
        ).sum()
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, stage.clip)
        optimiser.step()
        recent.append({"total": total.item(), **{name: loss.item() for name, loss in made.items()}})
        now = time.monotonic()
        if (step + 1) % report_every == 0 or step + 1 == stage.steps:
            means = mean_of(recent)
            tell(step + 1, means)
            with (folder / LOG).open("a") as log:
                entry = {"stage": stage.name, "step": step + 1, "cpu_s": round(cpu_before + time.process_time(), 1)}
                log.write(json.dumps({**entry, **{n: round(v, 4) for n, v in means.items()}}) + "\n")
            recent = []
        if now - saved > save_every_s or step + 1 == stage.steps:
            _save(stage, trainee, optimiser, step + 1, folder, cpu_before + time.process_time())
            saved = now


def mean_of(recent: Iterable[Mapping[str, float]]) -> dict[str, float]:
    gathered: dict[str, list[float]] = {}
    for entry in recent:
        for name, value in entry.items():
            gathered.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in gathered.items()}


def schedule(step: int, stage: Stage) -> float:
    """Linear warm-up, then a cosine to `stage.final`."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    done = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.final + (1 - stage.final) * 0.5 * (1 + math.cos(math.pi * done))


def finished_stages(folder: Path) -> list[str]:
    """Names of the stages that `folder` has behind it."""
    if not (folder / STATE).exists():
        return []
    state = load_state(folder)
    return [*state["finished"], *([state["stage"]] if state["step"] >= state["steps"] else [])]


def _save(
    stage: Stage, trainee: Trainee, optimiser: torch.optim.Optimizer, step: int, folder: Path, cpu_s: float
) -> None:
    finished = [name for name in finished_stages(folder) if name != stage.name]
    state = {
        **trainee.state(), "optimiser": optimiser.state_dict(),
        "stage": stage.name, "step": step, "steps": stage.steps, "finished": finished, "cpu_s": cpu_s,
    }  # fmt: skip
    data = io.BytesIO()
    torch.save(state, data)
    write_atomically(folder / STATE, data.getvalue())


def _resume(stage: Stage, trainee: Trainee, optimiser: torch.optim.Optimizer, folder: Path) -> int:
    """Load what `folder` holds; returns the first step that is still to do."""
    if not (folder / STATE).exists():
        return 0
    state = load_state(folder)
    trainee.load(state)
    if state["stage"] != stage.name:
        return 0
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def load_state(folder: Path) -> dict[str, Any]:
    """What the last save of a training held, on the CPU."""
    state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    return state


def cpu_seconds(folder: Path) -> float:
    """Processor time behind the last state, over all processes that went on from each other."""
    return float(load_state(folder).get("cpu_s", 0)) if (folder / STATE).exists() else 0.0
