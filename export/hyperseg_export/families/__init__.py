"""One folder per family. What the exporter needs to know of each is in `registry`, which needs torch; what engines are
judged with is not: machines that build engines have no torch.
"""

from importlib import import_module

from hyperseg_export.parity.tolerances import Tolerances


def tolerances_of(family: str) -> Tolerances:
    """How the outputs of a family's graphs are judged; every family has a file `tolerances.py` for it."""
    found = import_module(f"{__name__}.{family}.tolerances").TOLERANCES
    assert isinstance(found, Tolerances)
    return found
