"""How the exporter's tests use the machine."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Two workers with two spinning threads each make small operations a hundred times slower on two cores."""
    torch.set_num_threads(1)
