"""The command line in this process, and a real server in one of its own."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kokeshi.cli.app import app
from kokeshi.gateway.client import Client

LISTENING = re.compile(r"listening on http://(\S+)  grpc://(\S+)\n")


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    http: str
    grpc: str
    log: Path


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("KOKESHI_")}


@pytest.fixture(scope="session")
def start_server(tiny_repository: Path) -> Iterator[Callable[..., Server]]:
    """Starts `kokeshi serve` on free ports; its standard error goes to the folder."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, *flags: str, python: tuple[str, ...] = (), **environment: str):
        log = folder / "log"
        command = [sys.executable, *python, "-m", "kokeshi", "serve", "--data", folder / "data"]
        given = ["--repository", tiny_repository, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [*command, *given, *flags],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=folder,
                env=clean_environment() | environment,
            )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        match = LISTENING.fullmatch(line)
        assert match, (line, log.read_text()[-2000:])
        return Server(process, match[1], match[2], log)

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def server(start_server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server whose models are ready, with every import in its log."""
    found = start_server(tmp_path_factory.mktemp("server"), python=("-X", "importtime"))
    with Client(found.grpc) as client:
        wait_for(lambda: {model.state for model in client.models()} == {"ready"})
    return found


def wait_for(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in an empty folder and without settings of the machine."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, server: Server):
    """Runs a command that talks to the server."""
    monkeypatch.setenv("KOKESHI_SERVER", server.grpc)
    return run_command


@pytest.fixture
def offline():
    """Runs a command that needs no server."""
    return run_command


def run_command(*words: object, status: int = 0, input: bytes | None = None):
    result = CliRunner().invoke(app, [str(word) for word in words], input=input)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return Output(result.stdout, result.stderr)


@dataclass
class Output:
    """What a command wrote."""

    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """The one line of a failure."""
        (line,) = self.stderr.splitlines()
        assert line.startswith("kokeshi: error: ")
        return line.removeprefix("kokeshi: error: ")
