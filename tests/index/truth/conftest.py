"""A database with its writer, as the store opens them, and disks that fail."""

import contextlib
import shutil
from pathlib import Path

import apsw
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from kokeshi.cli import index_backup
from kokeshi.index.incoming import new_rows
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.truth import Truth
from kokeshi.index.writer import Job, Writer

SPACE = "0123456789abcdef"
GOLDEN = Path(__file__).parents[1] / "fixtures"


def vector_of(number, dim=8):
    """(dim,) float32 whose values are exact in every version of every library."""
    return (np.arange(dim, dtype=np.float32) - 3.5) * (number + 1) / 16


class Home:
    """A data directory with its database open."""

    def __init__(self, directory, **settings):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.path = directory / "vectors.sqlite"
        self.truth = Truth(directory)
        settings = {"quiet_s": 0.01, **settings}
        self.writer = Writer(
            self.truth.writing,
            queue_jobs=1000,
            group_rows=10_000,
            refusal=self.truth.refusal,
            **settings,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.writer.close()
        self.truth.close()

    def run(self, work, *, rows=1, is_fsynced=True):
        return self.writer.run(Job(work, lambda _: None, rows, is_fsynced))

    def create(self, name="faces", **settings):
        spec = CollectionSpec(name, SPACE, settings.pop("dim", 8), **settings)
        return self.run(lambda: self.truth.create(spec))

    def put(self, collection, numbers, *, tenant="", version=0, add_only=False, dim=8):
        vectors = np.stack([vector_of(n + 1000 * version, dim) for n in numbers])
        said = [b'{"version":%d}' % version] * len(vectors)
        rows = new_rows([f"id{n}" for n in numbers], said, [""] * len(vectors), vectors)
        return self.run(
            lambda: self.truth.upsert(collection, rows, add_only=add_only, tenant=tenant),
            rows=len(rows),
        )

    def delete(self, collection, numbers, *, tenant=""):
        ids = [f"id{n}" for n in numbers]
        return self.run(lambda: self.truth.delete(collection, ids, tenant=tenant))

    def all_of(self, collection):
        """Rows of a collection by (tenant, id)."""
        chunks = list(self.truth.newer(collection, 0, 100))
        return {(row.tenant, row.id): row for chunk in chunks for row in chunk}


class FailingFile(apsw.VFSFile):
    """A file whose writes and fsyncs fail when its system is told so."""

    def __init__(self, system, name, flags):
        self._system = system
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("unix", name, flags)

    def xWrite(self, data, offset):
        self._system.check("write", self._name)
        super().xWrite(data, offset)

    def xSync(self, flags):
        self._system.check("sync", self._name)
        super().xSync(flags)


class FailingSystem(apsw.VFS):
    """A file system whose calls of a kind, on files whose name ends so, fail by one error."""

    def __init__(self):
        self.failing = {}
        self.failures = 0
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name, flags):
        return FailingFile(self, name, flags)

    def check(self, call, name):
        for (kind, ending), error in self.failing.items():
            if kind == call and name and name.endswith(ending):
                self.failures += 1
                raise error


@pytest.fixture
def disk():
    """The default file system of SQLite, which fails when it is told to."""
    system = FailingSystem()
    yield system
    system.failing.clear()
    system.unregister()


@pytest.fixture
def new_home():
    """Opens data directories, closes them at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda directory, **settings: stack.enter_context(Home(directory, **settings))


@pytest.fixture
def home(tmp_path, new_home):
    return new_home(tmp_path / "data")


@pytest.fixture
def golden(tmp_path):
    """Copies the database of a format into a directory of its own."""

    def copy(version):
        directory = tmp_path / f"golden{version}"
        directory.mkdir()
        shutil.copy(GOLDEN / f"v{version}" / "vectors.sqlite", directory)
        return directory

    return copy


@pytest.fixture
def number():
    return vector_of


@pytest.fixture
def run():
    """Runs `backup`, `restore` and `verify`; what they print."""
    app = typer.Typer()
    for command in (index_backup.backup, index_backup.restore, index_backup.verify):
        app.command()(command)

    def run(*arguments):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if done.exception:
            raise done.exception
        return done.output

    return run
