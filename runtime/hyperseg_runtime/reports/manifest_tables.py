"""A bundle's manifest as tables for people."""

import re
from collections.abc import Sequence

from hyperseg_runtime import console
from hyperseg_runtime.bundle.manifest import Manifest, ParityEntry
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.reports.quantization_tables import print_quantization


def print_manifest(manifest: Manifest) -> None:
    origin = manifest.provenance
    console.out.print(f"family      {manifest.family}", markup=False)
    console.out.print(f"licence     {licence_of(manifest.family)}", markup=False)
    console.out.print(
        f"size        {megabytes(manifest.size_bytes)} in {len(manifest.files)} files, all hashes match", markup=False
    )
    console.out.print(
        f"checkpoint  sha256 {origin.checkpoint_sha256[:16]}..., exported {origin.created_utc}", markup=False
    )
    console.out.print(adapter_line(manifest))
    console.out.print(f"made with   {', '.join(f'{name} {v}' for name, v in origin.versions.items())}", markup=False)
    console.out.print()
    console.print_rows(
        "Graphs",
        ("graph", ">parameters", "precision", "reused per", "inputs", "outputs"),
        [
            (
                graph.spec.name,
                f"{graph.parameters:,}",
                graph.number_format,
                graph.spec.reuse,
                shorten(graph.spec.input_names()),
                shorten(graph.spec.output_names()),
            )
            for graph in manifest.graphs
        ],
    )
    print_quantization(manifest)
    print_tasks(manifest.family)
    coverage = manifest.coverage
    console.print_rows(
        f"Checkpoint: {coverage.tensors} tensors",
        ("bytes", "what became of them"),
        [
            (f"{coverage.loaded_bytes:,}", "in the graphs and tables"),
            (f"{coverage.checked_bytes:,}", "computed here, compared with the stored values"),
            *((f"{count:,}", f"left out: {reason}") for reason, count in coverage.unused_bytes.items()),
        ],
    )
    print_parity(manifest)


def print_tasks(family: str) -> None:
    """What the family answers, and why it does not answer the rest."""
    if family not in FAMILIES:
        return
    spec = FAMILIES[family]
    rows = [
        (task.name, task.request.kind, f"{task.about}: {task.form!r}" if task.form else task.about)
        for task in spec.tasks
    ]
    rows += [(task.name, "frames of a video", task.about) for task in spec.video_tasks]
    rows += [("none", kind, reason) for kind, reason in spec.lacks.items()]
    console.print_rows("Tasks, the first of a kind by default", ("task", "asked as", "answer"), rows)


def licence_of(family: str) -> str:
    """What the authors of a family's code and weights state; weights that others trained have their own."""
    if family not in FAMILIES:
        return "unknown family"
    return f"of {FAMILIES[family].title} as released: {FAMILIES[family].licence}"


def print_parity(manifest: Manifest) -> None:
    """One row per graph: its worst output."""
    if manifest.parity is None:
        console.out.print("Parity: not measured (verify BUNDLE --checkpoint CHECKPOINT shows it)")
        return
    by_graph = [[e for e in manifest.parity if e.graph == graph.spec.name] for graph in manifest.graphs]
    worst = [max(entries, key=_badness) for entries in by_graph if entries]
    print_entries("Parity of ONNX graphs with their modules on photographs, worst output of each", worst)


def folded(entries: Sequence[ParityEntry]) -> list[ParityEntry]:
    """One row for all numbered outputs of a graph, its caches: the worst, called "first to last"."""
    groups: dict[tuple[str, ...], list[ParityEntry]] = {}
    for entry in entries:
        numbered = re.fullmatch(r".+\.\d+", entry.output)
        groups.setdefault((entry.graph, entry.measure, "" if numbered else entry.output), []).append(entry)
    rows = []
    for group in groups.values():
        worst = max(group, key=_badness)
        name = worst.output if len(group) == 1 else f"{group[0].output} to {group[-1].output}: {worst.output}"
        rows.append(worst.model_copy(update={"output": name}))
    return rows


def _badness(entry: ParityEntry) -> tuple[bool, float]:
    return not entry.passed, entry.worst_error / entry.tolerance


def print_entries(title: str, entries: Sequence[ParityEntry]) -> None:
    console.print_rows(
        title,
        ("graph", "output", "measure", ">worst", ">allowed", "run by", "verdict"),
        [
            (e.graph, e.output, e.what(), f"{e.worst_error:.1e}", f"{e.tolerance:.1e}", e.engine, verdict(e.passed))
            for e in entries
        ],
    )


def verdict(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def adapter_line(manifest: Manifest) -> str:
    """Which adapter a bundle holds, and how."""
    sha256, entry = manifest.provenance.adapter_sha256, manifest.adapter
    if sha256 is None or entry is None:
        return "adapter     " + ("none" if sha256 is None else f"sha256 {sha256[:16]}..., merged into the weights")
    used = sum(slot.rank > 0 for slot in entry.slots)
    return f"adapter     sha256 {sha256[:16]}..., kept apart: in {used} of {len(entry.slots)} slots of {entry.graph}"


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def shorten(names: list[str], shown: int = 4) -> str:
    """The first names and how many more there are."""
    more = f" + {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
