"""The command `hyperseg-trt`: every verb that an installed package registers.

A verb is an entry point of the group `hyperseg_trt.verbs`: its name, and a function or a group of functions. So no
package imports another one to offer its verbs. Nothing heavy is imported before a verb runs.
"""

from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from hyperseg_runtime import console

COMMAND = "hyperseg-trt"
VERBS = "hyperseg_trt.verbs"

EXIT_CODES = """Exit codes: 0 done; 1 unexpected error; 2 unusable input (arguments, image, text, checkpoint);
3 a package or device is missing; 4 export failed; 5 results differ too much or are not
numbers; 6 bundle damaged or incompatible; 7 disk or memory ran out; 8 an engine is not what
was planned; 9 a server failed at a request; 10 a server cannot be reached or has no room;
11 part of the input could not be read, the results of the rest are written; 130 interrupted;
141 the reader of the output went away."""


def make_app() -> typer.Typer:
    """The command line of all registered verbs."""
    app = typer.Typer(
        name=COMMAND,
        help="Turn checkpoints of vision-language segmentation models into verified graphs, engines and masks.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_before_any_verb)
    for entry in sorted(entry_points(group=VERBS)):
        verb = entry.load()
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=entry.name)
        else:
            app.command(entry.name)(verb)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        console.out.print(f"{COMMAND} {version(COMMAND)}")
        raise typer.Exit


def _before_any_verb(
    show: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Nothing but the options of the command itself."""


def main() -> None:
    console.run_app(make_app())
