"""The house: rooms without circles, families that nothing outside their own folders knows."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from hyperseg_runtime.families import FAMILIES

ROOT = Path(__file__).parent.parent
PACKAGES = ("kernels/hyperseg_kernels", "runtime/hyperseg_runtime", "triton_repo/hyperseg_serving")
PACKAGES += ("benchmarks/hyperseg_bench", "export/hyperseg_export")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MODULES = {
    ".".join(path.relative_to(ROOT / package).with_suffix("").parts).removesuffix(".__init__"): path
    for package in (Path(entry).parent for entry in PACKAGES)
    for path in SOURCES
    if path.is_relative_to(ROOT / package)
}
REGISTRY = ("families/__init__.py", "families/registry.py")

OWN_NAME = re.compile(
    r"hyperseg[-_](trt|kernels|runtime|serving|bench|export)\b|\bHYPERSEG_[A-Z_]+|HypersegError", re.I
)
"""The first family gave the project its name: packages, the command, variables of the environment, the base error."""
OPERATOR_DOMAIN = re.compile(r"^hyperseg$|^hyperseg::|\bnamespace hyperseg;")
"""The domain of our operators, in ONNX files, in torch and in C++, is the project's too. It stands where they do."""
OPERATOR_FILES = (
    "kernels/hyperseg_kernels/catalog.py",
    "kernels/hyperseg_kernels/deformable_attention/cuda_source.py",
    "kernels/hyperseg_kernels/deformable_attention/torch_op.py",
    "kernels/hyperseg_kernels/mask_readout/cuda_source.py",
    "kernels/hyperseg_kernels/mask_readout/torch_op.py",
    "kernels/hyperseg_kernels/pillow_resize/torch_op.py",
    "kernels/hyperseg_kernels/pillow_resize/cuda_source.py",
    "export/hyperseg_export/modules/cache_op.py",
    "export/hyperseg_export/onnx/custom_operators.py",
)


def imports(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield from (module for module in (whole, node.module) if module in MODULES)


def own_folder(path: Path, family: str) -> bool:
    parts = path.relative_to(ROOT).parts
    return "families" in parts and (family in parts or path.as_posix().endswith(REGISTRY))


def test_only_registries_import_a_family() -> None:
    for module, path in MODULES.items():
        for imported in imports(path):
            for family in FAMILIES:
                if f".families.{family}" in imported:
                    assert own_folder(path, family), f"{module} imports {imported}"


@cache
def words(path: Path) -> tuple[tuple[int, str], ...]:
    """Identifiers and strings of a file with their lines; docstrings and comments are prose."""
    return tuple(found_words(path))


def found_words(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Constant(value=str(text)) if id(node) not in prose:
                yield line, text
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name):
                yield line, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
                yield line, name


@cache
def foreign(path: Path, word: str) -> str:
    """What is left of a word without the project's own name."""
    if str(path.relative_to(ROOT)) in OPERATOR_FILES:
        word = OPERATOR_DOMAIN.sub("", word)
    return OWN_NAME.sub("", word).lower()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_name_stands_in_its_own_folders_only(family: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word[:60]!r}"
        for path in SOURCES
        if not own_folder(path, family)
        for line, word in words(path)
        if family in foreign(path, word)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("file", OPERATOR_FILES)
def test_every_exception_is_needed(file: str) -> None:
    assert any(OPERATOR_DOMAIN.search(word) for _, word in words(ROOT / file))


def rooms() -> dict[str, set[str]]:
    """Which folder (or loose file) of a package imports which others of it."""
    edges: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        room = ".".join(module.split(".")[:2])
        for imported in imports(path):
            other = ".".join(imported.split(".")[:2])
            if other != room and other.split(".")[0] == room.split(".")[0] and "." in other and "." in room:
                edges.setdefault(room, set()).add(other)
    return edges


def test_no_circle_between_rooms() -> None:
    edges = rooms()
    reached = {room: set(others) for room, others in edges.items()}
    for _ in edges:
        for others in reached.values():
            others |= {further for other in set(others) for further in edges.get(other, ())}
    circles = sorted(room for room, others in reached.items() if room in others)
    assert not circles, circles
