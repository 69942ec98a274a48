"""Exit codes and messages of the command line, whatever happens inside a verb."""

import json
import sys
import warnings
from collections.abc import Callable

import pytest
import typer

from hyperseg_runtime import console, errors
from hyperseg_runtime.errors import EnvironmentMissingError, HypersegError, Notice

Run = Callable[..., tuple[int, str, str]]

DOCUMENTED = {
    HypersegError: 1,
    errors.InputError: 2,
    errors.ImageError: 2,
    errors.PromptError: 2,
    errors.CheckpointError: 2,
    errors.OutputError: 2,
    EnvironmentMissingError: 3,
    errors.ExportError: 4,
    errors.EngineError: 4,
    errors.ParityError: 5,
    errors.NumericsError: 5,
    errors.GateError: 5,
    errors.BundleError: 6,
    errors.ResourceError: 7,
    errors.AuditError: 8,
    errors.ServerError: 9,
    errors.UnavailableError: 10,
    errors.PartialInputError: 11,
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line whose verb `act` does what is given; returns exit code, stdout, stderr."""

    def outcome(act: Callable[[], object], *arguments: str) -> tuple[int, str, str]:
        app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

        @app.command()
        def verb(size: int = 1) -> None:
            act()

        @app.command()
        def other() -> None:
            """A second verb, so that verbs have names."""

        monkeypatch.setattr(sys, "argv", ["hyperseg-trt", *(arguments or ("verb",))])
        with pytest.raises(SystemExit) as stop:
            console.run_app(app)
        captured = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, captured.out, captured.err

    return outcome


def test_every_error_class_has_its_documented_code() -> None:
    ours = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HypersegError)}
    assert {kind: kind.exit_code for kind in ours} == DOCUMENTED


@pytest.mark.parametrize("kind", DOCUMENTED)
def test_an_error_on_purpose_is_one_message_without_traceback(run: Run, kind: type[HypersegError]) -> None:
    code, out, err = run(raising(kind("bundle [x]: half\n  copied")))
    assert (code, out, err) == (DOCUMENTED[kind], "", "error: bundle [x]: half\n  copied\n")


def test_success_is_zero_and_silent(run: Run) -> None:
    assert run(lambda: None) == (0, "", "")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()])
def test_an_interruption(run: Run, error: BaseException) -> None:
    code, out, err = run(raising(error))
    assert code == 130 and out == "" and "interrupted" in err and "Traceback" not in err


def test_memory_that_ran_out(run: Run) -> None:
    code, out, err = run(raising(MemoryError()))
    assert (code, out) == (7, "") and err.startswith("error: memory ran out")


@pytest.mark.parametrize("error", [ValueError("[red]odd[/red]"), KeyError("k"), ZeroDivisionError(), RecursionError()])
def test_an_unforeseen_error_tells_how_to_see_more(run: Run, error: Exception) -> None:
    code, out, err = run(raising(error))
    assert (code, out) == (1, "") and "Traceback" not in err
    message = f"unexpected error: {type(error).__name__}: {error} (set HYPERSEG_DEBUG=1 for the traceback)\n"
    assert err == message


def test_debugging_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERSEG_DEBUG", "1")
    code, _, err = run(raising(ValueError("odd")))
    assert code == 1 and "Traceback (most recent call last)" in err and "in verb" in err
    assert err.endswith("unexpected error: ValueError: odd (set HYPERSEG_DEBUG=1 for the traceback)\n")


def test_a_call_without_a_verb_shows_the_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hyperseg-trt"])
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    app.command()(lambda: None)
    app.command()(print)
    with pytest.raises(SystemExit) as stop:
        console.run_app(app)
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out) == (2, "") and captured.err.startswith("Usage: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verb", "--size", "many"), "Invalid value for '--size'"),
        (("verb", "--sise", "1"), "No such option"),
        (("verb", "extra"), "unexpected extra argument"),
        (("werb",), "No such command 'werb'"),
    ],
)
def test_a_wrong_command_line_is_two(run: Run, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run(lambda: None, *arguments)
    assert (code, out) == (2, "") and err.startswith("error: ") and message in err and "see --help" in err


def test_help_is_a_success(run: Run) -> None:
    code, out, err = run(lambda: None, "verb", "--help")
    assert (code, err) == (0, "") and "--size" in out


def test_a_verb_may_choose_its_exit_code(run: Run) -> None:
    assert run(raising(typer.Exit(5)))[0] == 5


def test_a_reader_that_went_away_is_no_unexpected_error(run: Run) -> None:
    """`hyperseg-trt inspect BUNDLE --json | head -1`"""
    code, _, err = run(raising(BrokenPipeError(32, "Broken pipe")))
    assert (code, err) == (console.READER_GONE, "")


def test_our_warnings_are_one_line_every_time(run: Run) -> None:
    def act() -> None:
        for _ in range(2):
            warnings.warn(Notice("[a] is odd"), stacklevel=1)

    assert run(act) == (0, "", "warning: [a] is odd\n" * 2)


def test_json_is_one_object_that_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"text": "čaj ☕", "boxes": [[1, 2]], "none": None}
    console.print_json(content)
    printed = capsys.readouterr().out
    assert json.loads(printed) == content and "čaj ☕" in printed and printed.endswith("}\n")


def test_json_has_null_where_a_number_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"error": float("inf"), "rows": [(1.5, float("nan"))]})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"error": None, "rows": [[1.5, None]]}


def test_tables_are_not_folded_and_keep_their_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_rows("Title", ("name", ">count"), [("a" * 70 + " [batch, 3]", 12), ("b", 345)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Title" and lines[1].split() == ["name", "count"]
    assert "a" * 70 + " [batch, 3]" in lines[2] and lines[2].endswith(" 12") and lines[3].endswith("345")


def test_an_extra_that_is_not_installed_is_named_with_the_command() -> None:
    with pytest.raises(EnvironmentMissingError) as caught:
        console.load_extra("no_such_module_anywhere", "export")
    assert str(caught.value) == (
        "this verb needs no_such_module_anywhere, which is not installed; run: pip install 'hyperseg-trt[export]'"
    )
    assert console.load_extra("json", "export") is json


def test_a_module_of_our_own_that_is_missing_is_a_fault_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError):
        console.load_extra("hyperseg_runtime.no_such_module", "export")


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SELDOM_S", 0)
    with console.byte_progress("checking", 13 * 10**9) as on_bytes:
        on_bytes(10**9)
        on_bytes(3 * 10**9)
    assert capsys.readouterr().err == "checking: 1.0 of 13.0 GB\nchecking: 4.0 of 13.0 GB\n"


@pytest.mark.parametrize("total", [10, 10**12])
def test_progress_draws_nothing_where_nobody_watches(capsys: pytest.CaptureFixture[str], total: int) -> None:
    with console.byte_progress("checking", total) as on_bytes:
        on_bytes(5)
    assert capsys.readouterr() == ("", "")


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> None:
        raise error

    return act
