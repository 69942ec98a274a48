"""A data set whose files may hold anything: whatever a reader stumbles over is one error that says where."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hyperseg_bench.quality.samples import DataSet, Sample
from hyperseg_runtime.errors import ImageError, InputError

MALFORMED = (ArithmeticError, AttributeError, IndexError, OSError, RecursionError, TypeError, ValueError)
"""What Python says of values that are missing, of another type, too deep, or no numbers."""

LONGEST = 500
"""So much of what a file says is repeated in a message."""


class Checked:
    """Readers take their files as the layout has them, and say what they miss where they know it."""

    def __init__(self, opened: Callable[[], DataSet], folder: Path, layout: str) -> None:
        """Raises InputError for annotations that cannot be used."""
        self._folder = folder
        self._layout = layout
        with self._explained("its annotations"):
            self._data = opened()
            self._keys = [str(key) for key in self._data.keys]
        if len(set(self._keys)) < len(self._keys):
            raise InputError(f"{folder}: two samples have the same name")

    @property
    def keys(self) -> Sequence[str]:
        return self._keys

    def sample(self, key: str) -> Sample:
        """Raises InputError for a sample that cannot be used."""
        with self._explained(f"sample {key!r}"):
            return self._data.sample(key)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except ImageError:
            raise
        except InputError as error:
            raise InputError(f"{self._folder}: {_line(what)}: {_line(error)}") from error
        except KeyError as error:
            raise InputError(f"{self._folder}: {_line(what)}: {_line(error)} is missing; {self._expected}") from error
        except MALFORMED as error:
            raise InputError(f"{self._folder}: {_line(what)}: {_line(error)}; {self._expected}") from error

    @property
    def _expected(self) -> str:
        return f"expected {self._layout}"


def _line(what: object) -> str:
    """Fit for a line of a terminal, whatever a file says: cut where it is long, escaped where it cannot be printed."""
    text = str(what)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
