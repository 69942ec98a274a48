"""What TIFF says of its samples. Files of every kind of them: tests/cases/test_images.py."""

import io

import pytest

from hyperseg_runtime.images.tiff import samples_of


@pytest.mark.parametrize("data", [b"", b"II*\0\xff\xff\xff\xff", b"\x89PNG"])
def test_what_is_damaged_or_no_tiff_says_nothing(data: bytes) -> None:
    assert samples_of(io.BytesIO(data)) is None


def test_memory_that_runs_out_is_no_damage() -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise MemoryError

    with pytest.raises(MemoryError):
        samples_of(Full())
