"""Whose items a collection has, counted by the database's index of tenants: no row is read."""

from typing import Final

from kokeshi.index.items import NO_TENANT
from kokeshi.index.reads import Reads

# nobody's are what is left: they are in no index, so that counting them would walk every row
_COUNTS: Final = """
SELECT '', rows - (
    SELECT count(*) FROM items INDEXED BY items_by_tenant WHERE collection = ?1 AND tenant <> '')
FROM collections WHERE collection = ?1
UNION ALL
SELECT * FROM (
    SELECT tenant, count(*) FROM items INDEXED BY items_by_tenant
    WHERE collection = ?1 AND tenant <> '' GROUP BY tenant ORDER BY tenant LIMIT ?2)
"""


def tenants_of(reads: Reads, collection: int, limit: int) -> dict[str, int]:
    """Items of each tenant that has any, ascending by name; the first `limit` of them.

    Raises:
        DamagedRowError: the database is malformed.
    """
    with reads.reading() as connection:
        found = dict(connection.execute(_COUNTS, (collection, limit)).fetchall())
    if not found.get(NO_TENANT):
        found.pop(NO_TENANT, None)
    return dict(sorted(found.items())[:limit])
