"""`kokeshi index doctor` and `kokeshi verify` against a running server."""

import json
import re
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from kokeshi.cli.index_doctor import doctor
from kokeshi.cli.verify import verify
from kokeshi.errors import InvalidRequestError

app = typer.Typer()
app.command()(doctor)
app.command()(verify)


@pytest.fixture
def run(doors, monkeypatch, tmp_path):
    """Runs a command in an empty folder; what it printed."""
    monkeypatch.setenv("KOKESHI_SERVER", doors.address)
    monkeypatch.chdir(tmp_path)

    def invoke(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def test_the_doctor_prints_figures_advice_and_what_wants_a_look(run):
    told = run("doctor", "digits", "--diagnostic", "hubness", "--diagnostic", "drift").stdout
    assert "hubness" in told
    assert "skewness" in told
    assert "drift: not measured: expected queries, got none" in told


def test_the_doctor_draws_a_file_for_each_diagnostic_with_curves(run, tmp_path):
    pytest.importorskip("matplotlib")
    words = ["--diagnostic", "hubness", "--diagnostic", "prefixes", "--plots", tmp_path / "plots"]
    run("doctor", "digits", *words)
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {"digits-hubness.svg", "digits-prefixes.svg"}
    assert all("<svg" in path.read_text() for path in (tmp_path / "plots").iterdir())


def test_the_worst_hubs_are_told_first(run):
    settings = json.dumps({"hubness": {"neighbours": 3}})
    told = run("doctor", "digits", "--diagnostic", "hubness", "--settings", settings).stdout
    times = [int(each) for each in re.findall(r"nearest of (\d+) items", told)]
    assert len(times) == 10
    assert times == sorted(times, reverse=True)
    words = ["--diagnostic", "hubness", "--settings", settings, "--json"]
    (result,) = json.loads(run("doctor", "digits", *words).stdout)["results"]
    assert times[0] == result["figures"]["most_occurrences"]
    assert f"of {times[0]} items" in next(iter(result["flagged"].values()))


def test_a_plot_of_labels_names_them(run, doors, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr("kokeshi.tune.curves._save", lambda figure, *_: drawn.append(figure))
    mixed = [
        replace(digit, id=f"m{number}", label="8" if number < 9 else digit.label)
        for number, digit in enumerate(doors.stored)
    ]
    doors.fill("mixed", "digits_mrl", mixed)
    words = ["--diagnostic", "label_audit", "--labels", "label"]
    run("doctor", "mixed", *words, "--plots", tmp_path)
    (axes,) = drawn[0].axes
    assert "8" in [text.get_text() for text in axes.get_xticklabels()]
    assert axes.get_xlabel() == "label"


def test_the_doctors_json_holds_every_figure(run):
    settings = '{"hubness": {"neighbours": 5}}'
    out = run("doctor", "digits", "--diagnostic", "hubness", "--settings", settings, "--json")
    told = json.loads(out.stdout)
    assert told["count"] == 400
    assert told["results"][0]["figures"]


@pytest.mark.parametrize("settings", ["{", "3", '{"hubness": 5}'])
def test_settings_that_are_none_are_refused(run, settings):
    with pytest.raises(InvalidRequestError, match="settings are"):
        run("doctor", "digits", "--settings", settings)


def test_a_picture_is_verified_against_a_subject(run, doors, tmp_path):
    digit = doors.queries[0]
    path = tmp_path / "digit.png"
    path.write_bytes(digit.data)
    words = ["verify", "digits", path, "--subject", f"label={digit.label}"]
    first = run(*words, "--labels", "label", "--fitted", "by_cli")
    assert "fitted 'by_cli' on 400 of 400 items" in first.stderr
    assert first.stdout.startswith("same ")
    told = json.loads(run(*words, "--fitted", "by_cli", "--dimension", 16, "--json").stdout)
    assert told["dimension"] == 16
    assert run("verify", "digits", path).exit_code == 2
