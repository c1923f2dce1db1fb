"""Settings: which source wins, what is refused, and what the pages say of them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

import kokeshi
from kokeshi.errors import SetupError
from kokeshi.service.collection_types import CollectionLimits
from kokeshi.service.retrieval.records import RetrievalLimits
from kokeshi.service.types import Limits
from kokeshi.settings import Settings, usable_cores


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text, name="kokeshi.toml"):
    path = Path(name)
    path.write_text(text)
    return path


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(monkeypatch):
    write('threads = 1\nmax_k = 10\nmax_inputs = 3\nhttp = "0.0.0.0:1"')
    monkeypatch.setenv("KOKESHI_THREADS", "2")
    monkeypatch.setenv("KOKESHI_MAX_K", "20")
    settings = Settings.load({"threads": 3, "max_k": None})
    assert (settings.threads, settings.max_k, settings.max_inputs) == (3, 20, 3)
    sources = settings.sources()
    assert sources["threads"] == "flag --threads"
    assert sources["max_k"] == "environment KOKESHI_MAX_K"
    assert sources["max_inputs"] == "file kokeshi.toml"
    assert sources["grpc"] == "default"
    assert set(sources) == set(Settings.model_fields)


def test_the_environment_names_a_file_and_an_argument_names_another(monkeypatch):
    write("threads = 1")
    write("threads = 2", "second.toml")
    third = write("threads = 3", "third.toml")
    monkeypatch.setenv("KOKESHI_CONFIG", "second.toml")
    assert Settings.load().threads == 2
    assert Settings.load(config=third).threads == 3
    assert Settings.load(config=third).sources()["threads"] == "file third.toml"


def test_an_empty_variable_is_not_set(monkeypatch):
    monkeypatch.setenv("KOKESHI_THREADS", "")
    assert Settings.load().sources()["threads"] == "default"


def test_the_limits_are_the_services_own_by_default():
    settings = Settings.load()
    assert {name: getattr(settings, name) for name in vars(Limits())} == vars(Limits())


LIMITS = (Limits, CollectionLimits, RetrievalLimits)


def test_every_setting_is_read_somewhere():
    root = Path(kokeshi.__file__).parent
    files = [file for file in root.rglob("*.py") if file.name != "settings.py"]
    read = "".join(file.read_text() for file in files)
    through = {  # a property of the settings reads it
        "load_models": "models_to_load",
        "triton_headers": "headers_to_triton",
        "decode_threads": "image_threads",
        "threads": "engine_threads",
    }
    limits = {name for kind in LIMITS for name in vars(kind())}  # read all together
    for name in set(Settings.model_fields) - limits:
        assert f"settings.{through.get(name, name)}" in read or f").{name}" in read, name


def test_an_unknown_key_of_the_file_is_refused_with_a_near_one():
    write("thread = 1")
    with pytest.raises(SetupError, match=r"'kokeshi.toml' holds 'thread'.*mean 'threads'"):
        Settings.load()


def test_an_unknown_variable_is_refused_with_a_near_one(monkeypatch):
    monkeypatch.setenv("KOKESHI_REPOSITRY", "x")
    with pytest.raises(SetupError, match=r"'KOKESHI_REPOSITRY'.*mean 'KOKESHI_REPOSITORY'"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", "many"),
        ("threads", "-1"),
        ("http", "8000"),
        ("http", "host:99999"),
        ("engine", "steam"),
        ("log_level", "loud"),
        ("drain_timeout_s", "0"),
        ("allow_untrained", "perhaps"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_its_source(monkeypatch, name, value):
    variable = f"KOKESHI_{name.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(SetupError, match=rf"'{name}' \(environment {variable}\).*'{value}'"):
        Settings.load()


def test_a_file_that_is_absent_or_no_toml_is_refused():
    with pytest.raises(SetupError, match=r"'absent.toml' cannot be read"):
        Settings.load(config=Path("absent.toml"))
    with pytest.raises(SetupError, match=r"'kokeshi.toml' is not TOML"):
        Settings.load(config=write("threads ="))


def test_values_of_text_are_read(monkeypatch):
    monkeypatch.setenv("KOKESHI_ALLOW_UNTRAINED", "true")
    monkeypatch.setenv("KOKESHI_LOG_LEVEL", "debug")
    monkeypatch.setenv("HOME", "/somewhere")
    write('repository = "~/models"')
    settings = Settings.load()
    assert settings.allow_untrained is True
    assert settings.log_level == "DEBUG"
    assert settings.repository == Path("/somewhere/models")


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        Settings.load().threads = 3


def test_the_control_groups_quota_bounds_the_cores(tmp_path):
    unbounded = usable_cores(tmp_path / "absent")
    cpu_max = tmp_path / "cpu.max"
    cpu_max.write_text("50000 100000\n")
    assert usable_cores(cpu_max) == 1
    cpu_max.write_text("max 100000\n")
    assert usable_cores(cpu_max) == unbounded
    cpu_max.write_text("99900000 100000\n")
    assert usable_cores(cpu_max) == unbounded
    assert Settings(threads=7).engine_threads == 7
    assert Settings().image_threads == usable_cores()


def test_every_setting_is_described():
    assert all(field.description for field in Settings.model_fields.values())
