"""`kokeshi index migrate`."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from kokeshi.cli.index_migrate import migrate, opened
from kokeshi.errors import SetupError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item

SPACE = "0123456789abcdef"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(migrate)

    def call(*flags):
        return CliRunner().invoke(
            app, ["faces", "--from", "embedded:a", "--to", "embedded:b", *flags]
        )

    with EmbeddedStore(tmp_path / "a") as store:
        store.create(CollectionSpec("faces", SPACE, 4))
        vectors = np.eye(4, dtype=np.float32)
        store.upsert("faces", [Item(f"{n}", one) for n, one in enumerate(vectors)], space=SPACE)
    return call


def test_a_collection_is_moved_and_the_user_is_told_to_switch(run, tmp_path):
    told = run()
    assert told.exit_code == 0
    assert "copied 4 rows of faces" in told.stdout
    assert "switch" in told.stderr
    assert (tmp_path / "migrate-faces.json").exists()
    with EmbeddedStore(tmp_path / "b") as store:
        assert store.count("faces") == 4
    assert json.loads(run("--json").stdout)["copied"] == 0


def test_what_is_not_the_same_is_named_and_no_success(run, tmp_path):
    run()
    with EmbeddedStore(tmp_path / "b") as store:
        store.upsert("faces", [Item("2", np.ones(4, np.float32))], space=SPACE)
    told = run()
    assert "'2' is different" in told.stderr
    assert isinstance(told.exception, SetupError)
    assert run("--repair").exit_code == 0
    assert run().exit_code == 0


@pytest.mark.parametrize("address", ["", "faiss:x", "embedded:", "milvus:x", "qdrant:", "x"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(SetupError, match="expected embedded"), opened(address, "NO_KEY"):
        pass
