"""The command line as a whole: help, version, exit statuses, methods, settings."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kokeshi import __version__
from kokeshi.cli import docs
from kokeshi.cli.app import SUMMARIES, load

DOCS = Path(__file__).parents[2] / "docs"


def kokeshi(*words, **options):
    command = [sys.executable, "-m", "kokeshi", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_the_summary_of_each_command_is_the_first_line_of_its_help():
    for name, summary in SUMMARIES.items():
        assert load(name).help.splitlines()[0] == summary


def test_every_command_that_tells_results_has_json():
    silent = {"serve"}
    for name in set(SUMMARIES) - silent:
        command = load(name)
        for one in getattr(command, "commands", {"": command}).values():
            assert "--json" in {flag for parameter in one.params for flag in parameter.opts}


def test_the_help_is_quick_and_loads_no_command():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = kokeshi("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert all(name in done.stdout for name in SUMMARIES)
    # of the processor, because the machine may be busy with other things
    assert after.ru_utime - before.ru_utime < 0.3
    imports = "import sys, kokeshi.cli.app; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", imports], text=True).split()
    assert not {"numpy", "pydantic", "grpc", "rich"} & set(loaded)


def test_the_version_is_printed(offline):
    assert offline("--version").stdout == f"kokeshi {__version__}\n"


def test_the_installed_command_runs():
    done = subprocess.run(
        [Path(sys.executable).parent / "kokeshi", "--version"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"kokeshi {__version__}\n".encode())


@pytest.mark.parametrize("words", [["srve"], ["classify"], ["compare", "m", "a"], ["serve", "-x"]])
def test_wrong_usage_is_status_2(offline, words):
    assert "Error: " in offline(*words, status=2).stderr


def test_a_command_without_words_shows_the_help(offline):
    assert "Commands:" in offline(status=2).stderr


def test_no_server_is_status_3(offline, tmp_path):
    told = offline("models", "--server", "127.0.0.1:9", status=3).error
    assert told.startswith("no server answers at '127.0.0.1:9'")


def test_an_interrupt_is_status_130(offline, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("kokeshi.registry.discover", interrupted)
    offline("methods", status=130)


def test_a_wrong_setting_is_one_line_without_a_traceback(tmp_path):
    done = kokeshi("settings", cwd=tmp_path, env={"KOKESHI_THREADS": "many"})
    assert done.returncode == 1
    assert done.stderr.startswith("kokeshi: error: setting 'threads' (environment KOKESHI_THREADS)")
    assert len(done.stderr.splitlines()) == 1


def test_settings_tell_values_and_sources(offline, monkeypatch, tmp_path):
    (tmp_path / "kokeshi.toml").write_text("max_k = 5")
    monkeypatch.setenv("KOKESHI_DATA", "/var/kokeshi")
    told = offline("settings", "--http", "0.0.0.0:80", "--allow-untrained", "--json").json
    assert told["max_k"] == {"value": 5, "source": "file kokeshi.toml"}
    assert told["data"] == {"value": "/var/kokeshi", "source": "environment KOKESHI_DATA"}
    assert told["http"] == {"value": "0.0.0.0:80", "source": "flag --http"}
    assert told["allow_untrained"] == {"value": True, "source": "flag --allow-untrained"}
    assert told["grpc"] == {"value": "127.0.0.1:8001", "source": "default"}
    assert "max_k" in offline("settings").stdout


def test_settings_of_a_file_that_a_flag_names(offline, tmp_path):
    (tmp_path / "other.toml").write_text("max_k = 6")
    told = offline("settings", "--config", "other.toml", "--json").json
    assert told["max_k"] == {"value": 6, "source": "file other.toml"}


def test_methods_are_told_with_their_states(offline):
    shown = offline("methods", "--json").json["methods"]
    assert {entry["state"] for entry in shown} <= {"served", "checkpoint required", "transform"}
    everything = offline("methods", "--all", "--json").json["methods"]
    assert len(everything) == 470
    planned = offline("methods", "--state", "not servable", "--json").json["methods"]
    assert planned == [entry for entry in everything if entry["state"] == "not servable"]
    assert all(entry["reason"] for entry in planned)
    assert f"of {len(everything)} methods" in offline("methods").stderr


def test_the_list_of_methods_fits_100_columns(offline):
    lines = offline("methods", "--all").stdout.splitlines()
    assert len(lines) == 471
    assert max(map(len, lines)) <= 100


def test_a_method_that_is_named_is_told_in_full(offline):
    told = offline("methods", "mae").stdout
    assert told.startswith("MAE, number 11\n")
    assert "Masked Autoencoders Are Scalable Vision Learners" in told
    assert "mae_vit_huge_patch14" in told
    assert max(map(len, told.splitlines())) <= 100
    assert offline("methods", "11").stdout == told
    assert offline("methods", "mae_vit_huge_patch14").stdout == told
    assert told in offline("methods", "masked autoencoders").stdout
    assert offline("methods", "timm/resnet18").stdout.startswith("CNN features off-the-shelf")
    assert offline("methods", "mae", "--json").json["methods"][0]["number"] == 11


def test_what_is_in_no_catalogue_is_told_too(offline):
    told = offline("methods", "resnet50")
    assert (told.stdout, told.stderr) == ("", "kokeshi export also takes: resnet50\n")


def test_a_method_that_does_not_exist_is_an_error_with_what_is_near(offline):
    assert "did you mean 'simsiam'" in offline("methods", "simsam", status=1).error


@pytest.mark.parametrize(
    ("page", "made"), [("cli.md", docs.cli_page), ("settings.md", docs.settings_page)]
)
def test_the_pages_are_what_the_code_says(page, made):
    assert (DOCS / page).read_text() == made(), "run: python -m kokeshi.cli.docs"


def test_completion_knows_commands_and_flags(tmp_path):
    environment = {
        "_KOKESHI_COMPLETE": "complete_bash",
        "COMP_WORDS": "kokeshi index ad",
        "COMP_CWORD": "2",
    }
    program = Path(sys.executable).parent / "kokeshi"
    done = subprocess.run([program], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split() == ["add"]


def test_bugs_are_not_hidden(monkeypatch, offline):
    def broken():
        raise RuntimeError("a bug")

    monkeypatch.setattr("kokeshi.registry.discover", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        offline("methods")
