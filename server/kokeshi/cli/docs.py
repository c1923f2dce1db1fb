"""Writes docs/cli.md and docs/settings.md: `python -m kokeshi.cli.docs` in the root."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from kokeshi.cli.app import SUMMARIES, app, load
from kokeshi.cli.options import described
from kokeshi.settings import Settings, flag_of, variable_of

DOCS: Final = Path("docs")
COLUMNS: Final = 80

_CLI: Final = """\
# Command line

<!-- made by `python -m kokeshi.cli.docs` -->

Results go to standard output, with `--json` as JSON; everything else goes to standard error.
Tables have colours only on a terminal, and never where `NO_COLOR` is set.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | the operation failed: the setup has to be mended, or the server refused |
| 2 | wrong usage |
| 3 | no server answers |
| 130 | interrupted |

`kokeshi --install-completion` installs completion for your shell.
"""

_SETTINGS: Final = """\
# Settings

<!-- made by `python -m kokeshi.cli.docs` -->

A flag goes before an environment variable, that before the settings file, that before the default.
The settings file is TOML, its keys are the names below; it is the one that `--config` or
`KOKESHI_CONFIG` names, or `kokeshi.toml` in the working directory. A key or a `KOKESHI_` variable
that is no setting is an error. `kokeshi settings` shows every value and where it came from.

```toml
# kokeshi.toml
repository = "/srv/models"
http = "0.0.0.0:8000"
log_format = "json"
```

| setting | meaning | environment | flag of `kokeshi serve` |
|---|---|---|---|
"""


def cli_page() -> str:
    """docs/cli.md: the help of every command."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("kokeshi", [], terminal_width=COLUMNS, resilient_parsing=True)
    return _CLI + "".join(_section(*one) for one in _commands(root, context))


def _commands(root: Any, context: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - typer's own types
    yield root, context
    for name in SUMMARIES:
        command = load(name)
        inner = _context(command, name, context)
        yield command, inner
        for part, child in getattr(command, "commands", {}).items():
            yield child, _context(child, part, inner)


def _context(command: Any, name: str, parent: Any) -> Any:  # noqa: ANN401 - typer's own types
    return command.make_context(name, [], parent=parent, resilient_parsing=True)


def _section(command: Any, context: Any) -> str:  # noqa: ANN401 - typer's own types
    lines = (line.rstrip() for line in command.get_help(context).splitlines())
    return f"\n## {context.command_path}\n\n```\n" + "\n".join(lines) + "\n```\n"


def settings_page() -> str:
    """docs/settings.md: the table of all settings."""
    return _SETTINGS + "".join(
        f"| `{name}` | {described(field)} | `{variable_of(name)}` | {_flag(name)} |\n"
        for name, field in Settings.model_fields.items()
    )


def _flag(name: str) -> str:
    # the address of a server is for the commands that ask one
    return "" if name == "server" else f"`{flag_of(name)}`"


if __name__ == "__main__":
    (DOCS / "cli.md").write_text(cli_page(), encoding="utf-8")
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
