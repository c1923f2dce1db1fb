"""Options that several commands share."""

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from kokeshi.gateway.client import Client
    from kokeshi.settings import Settings

TIMEOUT_S: Final = 60.0

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StoreTuning = Annotated[
    str | None,
    typer.Option(
        "--store-tuning",
        help="Thresholds of the embedded store, as `kokeshi serve` takes them "
        "(KOKESHI_STORE_TUNING).",
    ),
]
Server = Annotated[
    str | None,
    typer.Option("--server", help="Address of the server's gRPC door (KOKESHI_SERVER)."),
]
TimeoutS = Annotated[
    float, typer.Option("--timeout-s", min=0.001, help="Seconds to wait for an answer.")
]
Version = Annotated[
    int, typer.Option("--version", min=0, help="Version of the model; 0 is the newest.")
]
Dimension = Annotated[
    int | None, typer.Option("--dimension", min=1, help="Prefix length that was trained.")
]
Repository = Annotated[
    Path | None, typer.Option("--repository", help="Folder of model folders (KOKESHI_REPOSITORY).")
]


def new_app() -> typer.Typer:
    """The application of one command."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def connect(server: str | None, timeout_s: float) -> "Client":
    """A client of the server that a flag or the settings name; close it."""
    from kokeshi.gateway.client import Client
    from kokeshi.settings import Settings

    return Client(Settings.load({"server": server}).server, timeout_s=timeout_s)


def takes_settings(
    command: Callable[..., None], *, without: tuple[str, ...] = ()
) -> Callable[..., None]:
    """A command whose first argument, the settings, becomes a flag for each of them."""
    from kokeshi.settings import Settings

    fields = {name: field for name, field in Settings.model_fields.items() if name not in without}
    own = list(signature(command).parameters.values())[1:]

    def run(**given: Any) -> None:  # noqa: ANN401 - whatever the flags hold
        flags = {name: given.pop(name) for name in fields}
        command(Settings.load(flags, config=given.pop("config")), **given)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    flags = [_flag(name, field) for name, field in fields.items()]
    run.__signature__ = Signature([_CONFIG, *flags, *own])  # type: ignore[attr-defined] # where typer reads the flags
    return run


_CONFIG: Final = Parameter(
    "config",
    Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Settings file (KOKESHI_CONFIG); default kokeshi.toml in the working directory.",
        ),
    ],
)


def _flag(name: str, field: "FieldInfo") -> Parameter:
    from kokeshi.settings import flag_of

    flag = flag_of(name)
    if field.annotation is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    option = typer.Option(flag, help=described(field), show_default=False)
    kind: Any = field.annotation
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def described(field: "FieldInfo") -> str:
    """What a setting is for, with its default."""
    if field.default_factory is not None:
        return field.description or ""  # which says it
    default = str(field.default).lower() if field.annotation is bool else field.default
    return f"{field.description} [default: {default}]"


def load_settings(**flags: Any) -> "Settings":  # noqa: ANN401 - whatever the flags hold
    """Settings where a command has flags of its own for a few of them."""
    from kokeshi.settings import Settings

    return Settings.load(flags)
