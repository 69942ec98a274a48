"""How verbs talk: results on stdout, everything else on stderr, errors as one message and an exit code."""

import importlib
import itertools
import json
import math
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from time import perf_counter
from types import ModuleType
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hyperseg_runtime.errors import EnvironmentMissingError, HypersegError, InputError, Notice

OWN_PACKAGES = ("hyperseg_kernels", "hyperseg_runtime", "hyperseg_serving", "hyperseg_bench", "hyperseg_export")
DEBUG_VARIABLE = "HYPERSEG_DEBUG"
PROGRESS_FROM_BYTES = 500_000_000
"""Hashing less than this takes under a second or two; no bar is drawn."""
SELDOM_S = 10
"""Between two lines about one step where no terminal shows a bar."""
INTERRUPTED = 130
READER_GONE = 141
"""What shells show for a program whose output nobody reads any more, as in `... | head`."""

PIPED_WIDTH = 200
"""Columns when the output is no terminal; rich would fold tables at 80."""

out = Console(highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def run_app(app: typer.Typer) -> None:
    """Run a command line; never shows a traceback for an error that was raised on purpose."""
    _encode_anything()
    with warnings.catch_warnings():
        _show_warnings()
        sys.exit(_run(app))


def _run(app: typer.Typer) -> int:
    """The exit code."""
    try:
        _require_no_empty(sys.argv)
        code = int(app(standalone_mode=False) or 0)  # typer returns the code of Exit and of Ctrl-C
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
        return code
    except HypersegError as error:
        err.print(f"error: {error}", markup=False)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        err.print("interrupted; export and build go on where they stopped when called again")
        return INTERRUPTED
    except MemoryError:
        err.print("error: memory ran out; close other programs or use a machine with more")
        return 7
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer's way of passing it on
            return _reader_gone()
        raise
    except Exception as error:
        return _unforeseen(error)


def _require_no_empty(words: Sequence[str]) -> None:
    """Raise InputError for an empty argument: as a path it would be the current folder, as a text nothing."""
    for before, word in itertools.pairwise(words):
        if not word or re.fullmatch(r"--[\w-]+=", word):
            raise InputError(f"an empty argument after {word or before}: is it a variable without a value?")


def _reader_gone() -> int:
    """Nothing is said, also not by the interpreter, which flushes at its end what the pipe did not take."""
    with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    return READER_GONE


def _encode_anything() -> None:
    """Names of files may hold what the terminal's encoding has no character for: it is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _show_warnings() -> None:
    """Ours are one line each, every time; others as Python shows them."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, Notice):
            err.print(f"warning: {message}", markup=False)
        else:
            shown(message, category, *place, **options)

    warnings.showwarning = show
    warnings.simplefilter("always", Notice)


def _unforeseen(error: Exception) -> int:
    """Exit code of an error nobody planned for, or of a wrong command line."""
    usage = getattr(error, "exit_code", None)
    if usage is not None and hasattr(error, "format_message"):  # click's errors about arguments
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help; typer keeps the class to itself
            err.print(error.format_message(), markup=False)
            return int(usage)
        err.print(f"error: {error.format_message().rstrip('.')}; see --help", markup=False)
        return int(usage)
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    err.print(
        f"unexpected error: {type(error).__name__}: {error} (set {DEBUG_VARIABLE}=1 for the traceback)",
        markup=False,
    )
    return 1


def json_bytes(content: Any, ascii_only: bool = False) -> bytes:
    """UTF-8 JSON; numbers JSON has no word for (NaN, infinities) become null.

    Bytes of a file's name that are no UTF-8, which Python holds as lone surrogates, become JSON escapes.
    """
    text = json.dumps(_finite(content), indent=1, ensure_ascii=ascii_only, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def json_line(content: Any) -> bytes:
    """The same in one line."""
    text = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, (list, tuple)) else content


def print_json(content: Any) -> None:
    """One object on stdout; with escapes where its encoding lacks a character."""
    text = json_bytes(content).decode()
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json_bytes(content, ascii_only=True).decode()
    sys.stdout.write(text)


def table(title: str, *columns: str) -> Table:
    """An empty table; columns whose name starts with > are right-aligned."""
    made = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return made


def print_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    made = table(title, *columns)
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))  # plain text: "[batch, 3]" is no markup
    out.print(made)
    out.print()


def load_extra(module: str, extra: str) -> ModuleType:
    """Import a module that needs the packages of an extra; one clear line when they are absent."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith(OWN_PACKAGES):
            raise
        if error.name in sys.stdlib_module_names:
            raise EnvironmentMissingError(
                f"this verb needs Python's module {error.name}, which {sys.platform} does not have; it runs on Linux "
                "and macOS (running bundles on a CPU works on Windows, too)"
            ) from error
        raise EnvironmentMissingError(
            f"this verb needs {error.name}, which is not installed; run: pip install 'hyperseg-trt[{extra}]'"
        ) from error


class Seldom:
    """Lines on stderr for those who read a log: one in `SELDOM_S`, none before."""

    def __init__(self) -> None:
        self._last = perf_counter()

    def tell(self, text: str) -> None:
        now = perf_counter()
        if now - self._last >= SELDOM_S:
            self._last = now
            err.print(text, markup=False)


def gigabytes(done: int, total: int) -> str:
    return f"{done / 1e9:.1f} of {total / 1e9:.1f} GB"


def _told_seldom(label: str, total_bytes: int) -> Callable[[int], None]:
    seldom, done = Seldom(), 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        seldom.tell(f"{label}: {gigabytes(done, total_bytes)}")

    return on_bytes


@contextmanager
def byte_progress(label: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr for work counted in bytes that takes long; where nobody watches, a line now and then."""
    if total_bytes < PROGRESS_FROM_BYTES:
        yield lambda count: None
        return
    if not err.is_terminal:
        yield _told_seldom(label, total_bytes)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(label, total=total_bytes)
        yield lambda count: progress.advance(task, count)
