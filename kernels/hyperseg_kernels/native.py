"""Compile C++ for this machine when it is first needed and keep the library in the user's cache."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hyperseg_kernels.user_cache import user_cache

OPTIMISATION = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-fopenmp-simd")
FLAGS = ("-std=c++17", *OPTIMISATION, "-shared", "-fPIC", "-fvisibility=hidden")


class NativeBuildError(RuntimeError):
    """No library could be made; the message is one line that says why and what to do."""


def build_library(source: Path, includes: Sequence[Path]) -> Path:
    """The shared library of one C++ file, compiled on the first call and found in the cache on later ones.

    `includes` are the folders of the headers it may use.

    The name of the cached file is a hash of the sources, the flags and the compiler's version, so a change of
    any makes a new one. Raises NativeBuildError.
    """
    compiler = find_compiler()
    identity = hashlib.sha256()
    headers = (header for include in includes for header in sorted(include.glob("*.h")))
    for part in (compiler_version(compiler), *FLAGS, *map(Path.read_text, (source, *headers))):
        identity.update(part.encode() + b"\0")
    library = cache_folder() / f"{source.stem}-{identity.hexdigest()[:16]}.so"
    if not library.is_file():
        try:
            compile_into(library, [compiler, *FLAGS, *(f"-I{include}" for include in includes), str(source)])
        except OSError as error:
            raise NativeBuildError(
                f"{library.parent} cannot be written: {error.strerror}; set XDG_CACHE_HOME"
            ) from error
    return library


def find_compiler() -> str:
    """$CXX, else g++ or clang++ on the path."""
    chosen = os.environ.get("CXX")
    for name in [chosen] if chosen else ["g++", "clang++"]:
        if path := shutil.which(name):
            return path
    raise NativeBuildError(
        f"no C++ compiler: {chosen or 'g++ or clang++'} is not on the path; on Debian: apt install g++"
    )


def compiler_version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout


def cache_folder() -> Path:
    """The user's; raises NativeBuildError if there is none."""
    found = user_cache()
    if found is None:
        raise NativeBuildError("this user has no home folder to keep it in; set XDG_CACHE_HOME")
    return found


def compile_into(library: Path, command: Sequence[str]) -> None:
    """Run `command -o library`. The file appears whole: other processes may be asking for it, too."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        finished = subprocess.run([*command, "-o", made], capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            first = next((line for line in finished.stderr.splitlines() if "error" in line), "no message")
            raise NativeBuildError(f"{command[0]} failed: {first}")
        made.replace(library)
