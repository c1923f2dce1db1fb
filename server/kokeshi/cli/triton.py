"""`kokeshi triton`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kokeshi.cli.options import Json, load_settings, new_app
from kokeshi.cli.output import note, print_json

app = new_app()

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Where it is; default: the setting triton_home."),
]


@app.callback()
def _triton() -> None:
    """Install, find or remove a tritonserver for --engine triton."""


@app.command()
def install(
    *,
    folder: Folder = None,
    python: Annotated[
        str | None, typer.Option(help="Interpreter whose version runs the graphs; default: this.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Install a tritonserver from PyPI into an environment of its own, and try it.

    For a machine without NVIDIA's image: 200 MB, no Docker, no GPU, nothing outside the folder.
    """
    from kokeshi.engines.triton.install import install as run

    chosen = _chosen(folder)
    wheel = run(chosen, python=python or sys.executable, report=note)
    if as_json:
        print_json({"folder": str(chosen), **asdict(wheel)})
        return
    versions = ", ".join(f"{name} {version}" for name, version in sorted(wheel.versions.items()))
    print(f"installed {versions} in {chosen}")


@app.command()
def status(*, folder: Folder = None, as_json: Json = False) -> None:
    """Say which tritonserver --engine triton would start."""
    from kokeshi.engines.triton.installation import find_tritonserver

    found = find_tritonserver(_chosen(folder))
    if as_json:
        wheel = asdict(found.wheel) if found.wheel else None
        print_json({"program": str(found.program), "installed": wheel})
        return
    print(found.told)


@app.command()
def remove(*, folder: Folder = None, as_json: Json = False) -> None:
    """Remove what `kokeshi triton install` installed."""
    from kokeshi.engines.triton.install import remove as run

    chosen = _chosen(folder)
    removed = run(chosen)
    if as_json:
        print_json({"folder": str(chosen), "removed": removed})
        return
    print(f"removed {chosen}" if removed else f"nothing is installed in {chosen}")


def _chosen(folder: Path | None) -> Path:
    return folder or load_settings().triton_home
