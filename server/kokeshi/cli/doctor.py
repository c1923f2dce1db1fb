"""`kokeshi doctor`."""

import logging
import platform
import textwrap
from typing import Final

import typer

from kokeshi.cli import findings, machine
from kokeshi.cli.options import Json, new_app, takes_settings
from kokeshi.cli.output import note, print_json, print_table
from kokeshi.settings import Settings

COLUMNS: Final = 100
app = new_app()


def doctor(settings: Settings, *, as_json: Json = False) -> None:
    """Check the installation, the models, the data and the ports.

    Loads every model once. The exit status is 1 if something keeps Kokeshi from working.
    """
    logging.getLogger("kokeshi").addHandler(logging.NullHandler())  # the report says it all
    versions = findings.installed()
    found = [*findings.of_versions(versions), *machine.report(settings)]
    problems = sum(finding.verdict == "problem" for finding in found)
    if as_json:
        python = {"python": platform.python_version()}
        print_json({"ok": not problems, "versions": python | versions, "findings": found})
    else:
        told = ", ".join(f"{name} {number}" for name, number in versions.items())
        note(textwrap.fill(f"python {platform.python_version()}, {told}", COLUMNS))
        print_table(
            ["", "subject", "finding", "what to do"],
            ((one.verdict, one.subject, one.told, one.remedy) for one in found),
        )
        note(f"problems: {problems}")
    if problems:
        raise typer.Exit(1)


app.command()(takes_settings(doctor))
