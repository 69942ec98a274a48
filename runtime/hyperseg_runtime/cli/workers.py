"""Options of verbs that go over many samples: who does the work."""

from typing import TYPE_CHECKING, Annotated

import typer

from hyperseg_runtime import console
from hyperseg_runtime.errors import InputError

if TYPE_CHECKING:
    from hyperseg_runtime.batch.working import Worker

EXTRA = "batch"
WORKERS = 2

RayOption = Annotated[bool, typer.Option("--ray", help="Spread the work over a Ray cluster, or this machine.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="With --ray: bundles opened at once; default: 2.")
]


def worker_of(ray: bool, workers: int | None) -> "Worker":
    """Raises InputError for workers without Ray, EnvironmentMissingError where Ray is not installed."""
    from hyperseg_runtime.batch.working import in_this_process

    if ray:
        worker: Worker = console.load_extra("hyperseg_runtime.batch.on_ray", EXTRA).on_ray(workers or WORKERS)
        return worker
    if workers is not None:
        raise InputError("--workers is a setting of Ray; add --ray, or leave it out")
    return in_this_process
