"""Indexes of the database that were damaged on the disk."""

import logging

import apsw
import numpy as np
import pytest

from kokeshi.index import CollectionSpec, EmbeddedStore, Item
from kokeshi.index.schema import DATABASE, PAGE_BYTES

SPACE = "0123456789abcdef"
TENANT = "red"
ITEMS = [Item(f"item{number}", np.full(4, number + 1, np.float32)) for number in range(40)]


@pytest.mark.parametrize("index", ["items_by_id", "items_by_tenant"])
def test_a_damaged_index_is_made_anew_and_hides_no_row(tmp_path, caplog, index):
    with EmbeddedStore(tmp_path) as store:
        store.create(CollectionSpec("faces", SPACE, 4, metric="l2"))
        store.upsert("faces", ITEMS, space=SPACE, tenant=TENANT)
    page = _root(tmp_path / DATABASE, index)
    with (tmp_path / DATABASE).open("r+b") as file:
        file.seek(page * PAGE_BYTES - 3)  # of the first key, which lies at the page's end
        byte = file.read(1)
        file.seek(page * PAGE_BYTES - 3)
        file.write(bytes([byte[0] ^ 1]))
    with caplog.at_level(logging.WARNING), EmbeddedStore(tmp_path) as store:
        assert "made anew" in caplog.text
        ids = [item.id for item in ITEMS]
        assert [item.id for item in store.get("faces", ids, tenant=TENANT)] == ids
        assert len(store.scroll("faces", tenant=TENANT).items) == len(ITEMS)
        store.upsert("faces", ITEMS, space=SPACE, tenant=TENANT)
        assert store.count("faces", tenant=TENANT) == len(ITEMS)


def _root(path, index):
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (index,)).get
    connection.close()
    return found
