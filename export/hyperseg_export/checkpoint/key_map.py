"""From checkpoint names to ours: rules as data, and an account of every tensor."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from hyperseg_runtime.errors import CheckpointError

ROTARY_TABLES = ("inv_freq", "original_inv_freq", "cos_cached", "sin_cached")
Shape = tuple[int, ...]
Transform = Callable[..., Tensor]


def same(tensor: Tensor) -> Tensor:
    return tensor


def pack(*tensors: Tensor) -> Tensor:
    """Several projections of one input become one: (out, in) matrices stacked along `out`."""
    return torch.cat(tensors)


def thirds(*indices: int) -> Callable[[Tensor], Tensor]:
    """Takes some of the query, key and value parts (0, 1, 2) of a packed projection."""

    def take(packed: Tensor) -> Tensor:
        parts = packed.chunk(3)
        return torch.cat([parts[index] for index in indices])

    return take


@dataclass(frozen=True)
class Rule:
    """`target` is our name, `sources` are the checkpoint's; {i} and {j} are numbers, {p} weight or bias, {n} anything.

    `transform` gets the source tensors in order. `unused` says why the target may be absent from every
    graph; without it an absent target is an error.
    """

    target: str
    sources: tuple[str, ...]
    transform: Transform = same
    unused: str = ""


@dataclass(frozen=True)
class Drop:
    """A tensor that no graph needs, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class MustEqual:
    """A stored buffer that we compute ourselves; loading checks that both are the same."""

    source: str
    expected: Callable[[Shape], Tensor]
    reason: str


@dataclass(frozen=True)
class SameAs:
    """Another name under which a checkpoint stores a tensor; loading checks that both are the same.

    Fields as in `Rule`.
    """

    source: str
    original: str


AnyRule = Rule | Drop | MustEqual | SameAs


def counted(shape: Shape) -> Tensor:
    """0, 1, 2, ... in this shape."""
    return torch.arange(math.prod(shape)).reshape(shape)


def triangle(shape: Shape) -> Tensor:
    """Ones where a position sees another: itself and those before it."""
    return torch.ones(shape).tril()


BUFFERS: tuple[AnyRule, ...] = (
    *(Drop(f"{{n}}rotary_emb.{name}", "rotary table, computed from config.json") for name in ROTARY_TABLES),
    MustEqual("{n}position_ids", counted, "positions are counted from 0"),
    Drop("{n}attn_mask", "mask of shifted windows, computed from the image's size"),
    MustEqual("{n}attn.bias", triangle, "the mask of causal attention is a triangle of ones"),
    Drop("{n}attn.masked_bias", "what causal attention puts in place of masked scores"),
    Drop("{n}num_batches_tracked", "count of training steps"),
)
"""Tables that some writers store and others compute, in any family; for names that no rule of the family knows."""


@dataclass(frozen=True)
class Origin:
    """Where one of our tensors comes from."""

    sources: tuple[str, ...]
    transform: Transform


@dataclass
class KeyMap:
    """The rules applied to one checkpoint: every checkpoint key is in exactly one of the three groups."""

    origins: dict[str, Origin] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    """checkpoint name -> reason"""
    checked: dict[str, MustEqual | SameAs] = field(default_factory=dict)


class TensorSource(Protocol):
    """A checkpoint, as far as this module needs one."""

    @property
    def shapes(self) -> Mapping[str, Shape]: ...

    def tensor(self, name: str) -> Tensor: ...


def apply_rules(rules: Sequence[AnyRule], shapes: Mapping[str, Shape], targets: Mapping[str, Shape]) -> KeyMap:
    """Match every checkpoint name with a rule and every target with its sources.

    `shapes` are the checkpoint's, `targets` ours, both in the checkpoint's (out, in) layout. Raises
    CheckpointError naming what is unknown, missing or of the wrong shape; nothing is read for that.
    """
    result = KeyMap()
    unknown = []
    own, buffers = (
        [(rule, [_pattern(source) for source in _sources(rule)]) for rule in listed] for listed in (rules, BUFFERS)
    )
    for name in sorted(shapes):
        matched = _matching(own, name) or _matching(buffers, name)
        for rule, fields in matched:  # one packed tensor may feed several targets
            _account(result, rule, name, fields, shapes, targets)
        if not matched:
            unknown.append(name)
    _raise_for("not known to this family; a newer or other model?", unknown)
    _raise_for("missing from the checkpoint", _missing(result, rules, targets))
    _raise_for("of the wrong shape", list(_wrong_shapes(result, shapes, targets)))
    return result


def _matching(
    compiled: Sequence[tuple[AnyRule, Sequence[re.Pattern[str]]]], name: str
) -> list[tuple[AnyRule, dict[str, str]]]:
    """Rules for this name, with what stands in their fields."""
    found = []
    for rule, patterns in compiled:
        match = next((m for pattern in patterns if (m := pattern.fullmatch(name))), None)
        if match:
            found.append((rule, match.groupdict()))
    return found


def _sources(rule: AnyRule) -> tuple[str, ...]:
    return rule.sources if isinstance(rule, Rule) else (rule.source,)


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template)
    for name, choices in (("i", r"\d+"), ("j", r"\d+"), ("p", "weight|bias"), ("n", ".*")):
        text = text.replace(rf"\{{{name}\}}", f"(?P<{name}>{choices})")
    return re.compile(text)


def _account(
    result: KeyMap, rule: AnyRule, name: str, fields: dict[str, str], shapes: Mapping[str, Shape],
    targets: Mapping[str, Shape],
) -> None:  # fmt: skip
    if isinstance(rule, Drop):
        result.dropped[name] = rule.reason
    elif isinstance(rule, MustEqual):
        result.checked[name] = rule
    elif isinstance(rule, SameAs):
        original = rule.original.format(**fields)
        if original not in shapes:
            raise CheckpointError(f"checkpoint: {name} is another name of {original}, which is missing")
        result.checked[name] = SameAs(name, original)
    else:
        target = rule.target.format(**fields)
        if target in targets:
            sources = tuple(source.format(**fields) for source in rule.sources)
            if all(source in shapes for source in sources):
                result.origins[target] = Origin(sources, rule.transform)
        elif rule.unused:
            result.dropped[name] = rule.unused
        else:
            raise CheckpointError(f"checkpoint: {name} belongs to {target}, which this model does not have")


def _missing(result: KeyMap, rules: Sequence[AnyRule], targets: Mapping[str, Shape]) -> list[str]:
    """Checkpoint names that would have given the targets without an origin."""
    reverse = [(_pattern(rule.target), rule) for rule in rules if isinstance(rule, Rule)]
    names = []
    for target in sorted(set(targets) - set(result.origins)):
        for pattern, rule in reverse:
            if match := pattern.fullmatch(target):
                names.append(" + ".join(source.format(**match.groupdict()) for source in rule.sources))
                break
        else:
            names.append(f"(no rule) {target}")
    return names


def _wrong_shapes(result: KeyMap, shapes: Mapping[str, Shape], targets: Mapping[str, Shape]) -> Iterable[str]:
    for target, origin in sorted(result.origins.items()):
        stand_ins = [torch.empty(shapes[source], device="meta") for source in origin.sources]
        found = [" + ".join(origin.sources), " + ".join(str(shapes[source]) for source in origin.sources)]
        try:
            shape = tuple(origin.transform(*stand_ins).shape)
        except (RuntimeError, ValueError, IndexError) as error:
            yield f"{found[0]} {found[1]}: {error}"
            continue
        if shape != targets[target]:
            yield f"{found[0]} {found[1]}: expected {targets[target]}"


def _raise_for(what: str, names: Sequence[str]) -> None:
    if names:
        shown = "\n  ".join(names[:5]) + (f"\n  ... and {len(names) - 5} more" if len(names) > 5 else "")
        raise CheckpointError(f"checkpoint: {len(names)} tensor(s) {what}:\n  {shown}")


def check_equal(key_map: KeyMap, source: TensorSource) -> None:
    """Compare every stored buffer that we compute ourselves with our value, and one tensor's names with each other."""
    wrong = []
    for name, rule in key_map.checked.items():
        stored = source.tensor(name)
        if isinstance(rule, SameAs):
            expected, reason = source.tensor(rule.original), f"not the same as {rule.original}"
        else:
            expected, reason = rule.expected(tuple(stored.shape)), rule.reason
        if expected.shape != stored.shape or not torch.equal(expected.to(stored.dtype), stored):
            wrong.append(f"{name}: {reason}")
    _raise_for("differ from the value they must have", wrong)
