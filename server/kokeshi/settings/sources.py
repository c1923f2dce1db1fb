"""Where values of settings come from: flags, the environment and the settings file."""

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from kokeshi.errors import SetupError

PREFIX: Final = "KOKESHI_"
CONFIG_VARIABLE: Final = "KOKESHI_CONFIG"
CONFIG_FILE: Final = "kokeshi.toml"


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def named(source: str, name: str) -> str:
    """Where a setting came from, as it is told."""
    match source:
        case "flag":
            return f"flag {flag_of(name)}"
        case "environment":
            return f"environment {variable_of(name)}"
    return source


def file_of(config: Path | None) -> Path | None:
    """The settings file: the one given, the one that the environment names, or the one here."""
    given = config or os.environ.get(CONFIG_VARIABLE)
    if given:
        return Path(given)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None


def from_file(file: Path, known: Iterable[str]) -> dict[str, Any]:
    """Values of a settings file.

    Raises:
        SetupError: it cannot be read, or holds what is not among the known names.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"settings file {str(file)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SetupError(f"settings file {str(file)!r} is not TOML: {error}") from None
    _refuse_unknown(values, known, f"settings file {str(file)!r}")
    return values


def from_environment(settings: type[BaseSettings]) -> dict[str, Any]:
    """Values of the environment, as pydantic reads them.

    Raises:
        SetupError: a variable with our prefix is none of a setting.
    """
    given = [name for name in os.environ if name.startswith(PREFIX)]
    known = [CONFIG_VARIABLE, *map(variable_of, settings.model_fields)]
    _refuse_unknown(given, known, "the environment")
    return EnvSettingsSource(settings)()


def _refuse_unknown(given: Iterable[str], known: Iterable[str], place: str) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=2)
            hint = f"; did you mean {' or '.join(map(repr, near))}" if near else ""
            raise SetupError(f"{place} holds {name!r}, which is no setting{hint}")


def explained(error: ValidationError, values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """What is wrong with values, each with its source."""
    complaints = []
    for detail in error.errors():
        name = str(detail["loc"][0])
        reason = detail["msg"].removeprefix("Value error, ")
        complaints.append(
            f"setting {name!r} ({sources[name]}) cannot be {values[name]!r}: "
            f"{reason[0].lower()}{reason[1:]}"
        )
    return "; ".join(complaints)
