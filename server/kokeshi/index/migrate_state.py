"""How far a migration has come, in a small file that survives a kill at any moment."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from kokeshi.errors import SetupError
from kokeshi.index.lock import fsync_directory

FORMAT: Final = 1


@dataclass
class Place:
    """How far the items of a tenant are copied.

    Attributes:
        cursor: of the page to go on with; its items may be copied already, or a part of them.
        seq: every write up to this one is copied; known where an end was reached.
    """

    cursor: str | None = None
    seq: int = 0


@dataclass
class State:
    """A migration.

    Attributes:
        route: from where to where, and what; a state goes on with no other.
        was_even: the two sides were found to be the same once: others may use the target since.
        tenants: how far each is.
    """

    route: Mapping[str, Any]
    was_even: bool = False
    tenants: dict[str, Place] = field(default_factory=dict)

    def place(self, tenant: str) -> Place:
        """How far a tenant is; at the start where it is new."""
        return self.tenants.setdefault(tenant, Place())

    def save(self, path: Path) -> None:
        """Writes it, whole or not at all."""
        aside = path.with_name(f"{path.name}.new")
        try:
            with aside.open("wb") as file:
                file.write(orjson.dumps({"format": FORMAT, **asdict(self)}))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            fsync_directory(path.parent)
        except OSError as error:
            raise SetupError(
                f"cannot keep the state of the migration in {path}: {error}"
            ) from error


def load(path: Path, route: Mapping[str, Any]) -> State | None:
    """The state in a file; None where there is none.

    Raises:
        SetupError: it is of another migration, or cannot be read.
    """
    try:
        values = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SetupError(f"cannot read the state of the migration in {path}: {error}") from error
    if values.get("format") != FORMAT or values.get("route") != route:
        raise SetupError(
            f"{path} holds the state of another migration: remove it, or name another file"
        )
    places = {tenant: Place(**place) for tenant, place in values["tenants"].items()}
    return State(route, values["was_even"], places)
