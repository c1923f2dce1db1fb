"""Settings of the server and the command line, and where each value came from.

A flag goes before an environment variable (`KOKESHI_` and the setting's name in capitals), that
before the settings file (`--config`, `KOKESHI_CONFIG`, or `kokeshi.toml` in the working directory),
that before the default. A name that is no setting is an error, not a silence.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from platformdirs import user_data_path
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from kokeshi.errors import SetupError

PREFIX: Final = "KOKESHI_"
CONFIG_VARIABLE: Final = "KOKESHI_CONFIG"
CONFIG_FILE: Final = "kokeshi.toml"
# Of control group version 2, as a container sees its own: quota and period, or "max".
CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")
MAX_PORT: Final = 65_535


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) <= MAX_PORT):
        raise ValueError("expected host:port")
    return value


Address = Annotated[str, AfterValidator(_address)]
Folder = Annotated[Path, AfterValidator(Path.expanduser)]
Level = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


class Settings(BaseSettings):
    """Every setting. Made by `Settings.load`; the constructor takes values alone."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    repository: Folder = Field(Path("model_repository"), description="Folder of model folders.")
    data: Folder = Field(
        default_factory=lambda: user_data_path("kokeshi", appauthor=False),
        description="Folder of the collections; by default the user's own data folder.",
    )
    http: Address = Field(
        "127.0.0.1:8000", description="Address of the HTTP door; port 0 takes a free one."
    )
    grpc: Address = Field(
        "127.0.0.1:8001", description="Address of the gRPC door; port 0 takes a free one."
    )
    server: Address = Field(
        "127.0.0.1:8001", description="Address of the gRPC door that commands talk to."
    )
    engine: Literal["embedded"] = Field("embedded", description="What runs the graphs.")
    threads: int = Field(
        0, ge=0, description="Cores that one batch may use; 0 is all that the process may use."
    )
    decode_threads: int = Field(
        0, ge=0, description="Threads that decode images; 0 is one per core of the process."
    )
    allow_untrained: bool = Field(
        default=False, description="Serve models whose weights are random, for tests."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the log lines.")
    log_level: Level = Field("INFO", description="Least important lines that are logged.")
    max_request_bytes: int = Field(64 * 2**20, gt=0, description="Largest request.")
    max_image_bytes: int = Field(32 * 2**20, gt=0, description="Largest image file.")
    max_image_pixels: int = Field(
        64 * 10**6, gt=0, description="Largest image, height times width."
    )
    max_inputs: int = Field(256, gt=0, description="Inputs that one call may bring.")
    max_k: int = Field(
        10_000, gt=0, description="Hits, labels or items of a page that one call may ask for."
    )
    max_decode_queue_images: int = Field(
        4096, gt=0, description="Images that may wait to be decoded; more are refused."
    )
    drain_timeout_s: float = Field(
        30.0, gt=0, description="Seconds that requests may still take after a signal to stop."
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load` reads the sources itself, because it has to remember which value is whose."""
        return (init_settings,)

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, *, config: Path | None = None) -> Self:
        """Settings from flags, environment, settings file and defaults.

        Args:
            flags: by name; None is a flag that was not given.
            config: settings file; None: the one the environment names, or `kokeshi.toml` here.

        Raises:
            SetupError: a name is unknown, a value is not of its kind, or the file cannot be read.
        """
        file = _file(config)
        layers = {  # the best last
            f"file {file}": _from_file(file) if file else {},
            "environment": _from_environment(cls),
            "flag": {name: value for name, value in (flags or {}).items() if value is not None},
        }
        values: dict[str, Any] = {}
        sources = dict.fromkeys(cls.model_fields, "default")
        for source, layer in layers.items():
            values |= layer
            sources |= {name: _named(source, name) for name in layer}
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise SetupError(_explained(error, values, sources)) from None
        settings._sources = sources
        return settings

    def sources(self) -> dict[str, str]:
        """For each setting: "default", "file NAME", "environment VARIABLE" or "flag --NAME"."""
        return {name: self._sources.get(name, "default") for name in type(self).model_fields}

    @property
    def engine_threads(self) -> int:
        """`threads`, or the cores that this process may use."""
        return self.threads or usable_cores()

    @property
    def image_threads(self) -> int:
        """`decode_threads`, or the cores that this process may use."""
        return self.decode_threads or usable_cores()


def usable_cores(cpu_max: Path = CPU_MAX) -> int:
    """Cores that this process may use: its affinity, and its control group's quota rounded up."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):  # no control group of version 2
        return cores
    return cores if quota == "max" else min(cores, ceil(int(quota) / int(period)))


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _named(source: str, name: str) -> str:
    match source:
        case "flag":
            return f"flag {flag_of(name)}"
        case "environment":
            return f"environment {variable_of(name)}"
    return source


def _file(config: Path | None) -> Path | None:
    named = config or os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None


def _from_file(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"settings file {str(file)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SetupError(f"settings file {str(file)!r} is not TOML: {error}") from None
    _refuse_unknown(values, Settings.model_fields, f"settings file {str(file)!r}")
    return values


def _from_environment(settings: type[Settings]) -> dict[str, Any]:
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


def _explained(
    error: ValidationError, values: Mapping[str, Any], sources: Mapping[str, str]
) -> str:
    complaints = []
    for detail in error.errors():
        name = str(detail["loc"][0])
        reason = detail["msg"].removeprefix("Value error, ")
        complaints.append(
            f"setting {name!r} ({sources[name]}) cannot be {values[name]!r}: "
            f"{reason[0].lower()}{reason[1:]}"
        )
    return "; ".join(complaints)
