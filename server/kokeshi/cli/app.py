"""The group of all commands: loads one when it is run, and turns errors into exit statuses."""

import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from kokeshi import __version__
from kokeshi.errors import KokeshiError, UnavailableError

FAILED: Final = 1
UNREACHABLE: Final = 3

# In the order of the help. Loading all modules to list them would cost the help half a second.
SUMMARIES: Final = {
    "serve": "Answer requests until told to stop.",
    "export": "Turn a method and its weights into a verified model folder.",
    "methods": "List the published methods and what can be done with each.",
    "models": "List the models of a running server, or of a folder.",
    "classify": "Name what is in images, best first.",
    "segment": "Give every pixel of an image its class.",
    "embed": "Turn images or texts into vectors.",
    "compare": "Say how alike two inputs are.",
    "index": "Make, fill and search collections.",
    "search": "Find the items nearest to images or texts.",
    "verify": "Say whether an input is the same as an item, or as a subject.",
    "tune": "Find the fastest way to run a model on this machine that stays faithful to it.",
    "triton": "Install, find or remove a tritonserver for --engine triton.",
    "settings": "Show every setting, its value and where that came from.",
    "doctor": "Check the installation, the models, the data and the ports.",
}


class Commands(TyperGroup):
    """The commands of `SUMMARIES`, each from the module of its name."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(**attributes)
        for name, summary in SUMMARIES.items():
            self.add_command(TyperCommand(name, help=summary), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own types
        """The real command in place of the one that stands in the help."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(name), rest

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except KokeshiError as error:
            sys.stderr.write(f"kokeshi: error: {error}\n")
            raise typer.Exit(status_of(error)) from error
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(130) from interrupt


def load(name: str | None) -> Any:  # noqa: ANN401 - typer's own types
    """The command of a name, from its module."""
    return typer.main.get_command(import_module(f"kokeshi.cli.{name}").app)


def status_of(error: KokeshiError) -> int:
    """Exit status of an error."""
    if not isinstance(error, UnavailableError):
        return FAILED
    from kokeshi.gateway.client import UnreachableError

    return UNREACHABLE if isinstance(error, UnreachableError) else FAILED


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kokeshi {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _kokeshi(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Serve published vision methods: classes, masks, vectors and neighbours."""
