"""Which TensorRT releases can be used, and what is known to be wrong with some of them."""

from dataclasses import dataclass

from hyperseg_runtime.errors import EnvironmentMissingError

OLDEST = (10, 15)
"""The ONNX parser reads RotaryEmbedding and TensorScatter from here on, Attention from 10.14 on."""
NEWEST_MAJOR = 11
"""The next major release will remove what it deprecates now; it has to be looked at first."""

Version = tuple[int, int]


@dataclass(frozen=True)
class KnownDefect:
    """Releases `first`..`last` (major, minor) and what they get wrong."""

    first: Version
    last: Version
    symptom: str
    reference: str
    consequence: str


DEFECTS = (
    KnownDefect(
        (10, 14),
        (11, 1),
        "deformable attention built on GridSample comes out wrong without an error",
        "NVIDIA/TensorRT#4813",
        "our graphs gather instead, and a lint refuses GridSample; do not build other people's graphs with it",
    ),
    KnownDefect(
        (10, 16),
        (10, 16),
        "a convolutional network came out wrong in low precision on a Blackwell GPU",
        "NVIDIA/TensorRT#4780",
        "look at the parity results before use",
    ),
    KnownDefect(
        (11, 1),
        (11, 2),
        "plugins made ahead of time take more GPU memory with every change of an image's size and keep it",
        "NVIDIA/TensorRT#4849",
        "where images of many sizes come, build with a library of plugins (--plugin) or without (--no-plugins); other "
        "releases are not known to be free of it",
    ),
)


def parse_version(text: str) -> Version:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)


def require_usable(text: str) -> None:
    """Raise EnvironmentMissingError for a release that this program cannot work with."""
    version = parse_version(text)
    if version < OLDEST or version[0] > NEWEST_MAJOR:
        raise EnvironmentMissingError(
            f"TensorRT {OLDEST[0]}.{OLDEST[1]} to {NEWEST_MAJOR}.x is needed, found {text}; "
            "run: pip install 'hyperseg-trt[trt]'"
        )


def defects_of(text: str) -> list[KnownDefect]:
    """What is known to be wrong with a release."""
    version = parse_version(text)
    return [defect for defect in DEFECTS if defect.first <= version <= defect.last]
