"""Random calls of deformable attention, with locations no network should produce but a fault can; host kernels."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from deformable_attention_host import HostKernels
from deformable_attention_support import Call

STRANGE = (float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e30, -1e10)


@pytest.fixture(scope="session")
def calls() -> SearchStrategy[Call]:
    """Arguments of `reference.deformable_attention` in float32, NaN and infinite locations among them."""
    return draw_call(strange=True)


@pytest.fixture(scope="session")
def finite_calls() -> SearchStrategy[Call]:
    """The same with locations between one level left of the map and one right of it."""
    return draw_call(strange=False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Thousands of small tensors: threads of torch would wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def host_kernels(compiled: Callable[[Callable[[], HostKernels]], HostKernels]) -> HostKernels:
    return compiled(HostKernels)


@st.composite
def draw_call(draw: st.DrawFn, strange: bool) -> Call:
    batch, queries, heads, points = (draw(st.integers(1, most)) for most in (3, 7, 3, 4))
    channels = draw(st.sampled_from((1, 3, 8)))
    shapes = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 16)), min_size=1, max_size=4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    value = 2 * torch.rand(batch, sum(h * w for h, w in shapes), heads, channels, generator=random) - 1
    locations = 3 * torch.rand(batch, queries, heads, len(shapes), points, 2, generator=random) - 1
    snap = draw(st.sampled_from((None, 0.0, 0.5)))  # anywhere, on pixel borders, on pixel centres
    if snap is not None:
        extents = torch.tensor([(w, h) for h, w in shapes], dtype=torch.float32)[:, None]
        locations = ((locations * extents).floor() + snap) / extents
    if strange:
        flat = locations.view(-1)
        for place, coordinate in draw(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(STRANGE)))):
            flat[place % len(flat)] = coordinate
    weights = torch.rand(batch, queries, heads, len(shapes), points, generator=random) - 0.25
    return value, locations, weights, shapes
