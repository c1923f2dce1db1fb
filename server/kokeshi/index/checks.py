"""Validation at the door: what passes here can be stored and searched."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from kokeshi.contract import MAX_CURVATURE
from kokeshi.errors import (
    AlreadyExistsError,
    DimensionError,
    InvalidRequestError,
    SpaceMismatchError,
)
from kokeshi.index.asked import SearchParams
from kokeshi.index.filters import Filter, Leaf
from kokeshi.index.filters import check as check_filter
from kokeshi.index.filters.checking import terms_of
from kokeshi.index.items import NO_TENANT, Item, Vector
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.vectors import as_array, as_float32, first_bad_row

MAX_K: Final = 10_000
MAX_DIM: Final = 16_384
MAX_ID_CHARACTERS: Final = 256
MAX_METADATA_BYTES: Final = 64 * 1024
MAX_BATCH_ROWS: Final = 10_000
MAX_QUERIES: Final = 1000
QUERY_AXES: Final = 2  # (queries, values)
MAX_HITS: Final = 100_000  # of all queries of one call
MAX_PAGE_ROWS: Final = 1000
MAX_BREADTH: Final = 100_000
MAX_SHORTLIST: Final = 1_000_000
MAX_TENANT_CHARACTERS: Final = 256
MAX_REQUEST_ID_CHARACTERS: Final = 128

_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")
_SPACE: Final = re.compile(r"[0-9a-f]{16}")
_CURSOR: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def check_spec(spec: CollectionSpec) -> None:
    """Refuses a collection that could never be served."""
    if not _NAME.fullmatch(spec.name):
        raise InvalidRequestError(
            f"a collection's name is 1 to 64 of a-z, 0-9, _ and -, got {spec.name!r}"
        )
    check_space(spec.space)
    if not 1 <= spec.dim <= MAX_DIM:
        raise InvalidRequestError(f"dim must be in 1..{MAX_DIM}, got {spec.dim}")
    dims = spec.trained
    if list(dims) != sorted(set(dims)) or dims[0] < 1 or dims[-1] != spec.dim:
        raise InvalidRequestError(f"dimensions {dims} must ascend to the full length {spec.dim}")
    if spec.graph_dimension is not None:
        check_dimension(spec, spec.graph_dimension)
    for field, choices in _CHOICES.items():
        if getattr(spec, field) not in choices:
            raise InvalidRequestError(
                f"{field} must be one of {', '.join(choices)}, got {getattr(spec, field)!r}"
            )
    _check_ball(spec)


_CHOICES: Final = {
    "metric": ("cosine", "ip", "l2", "hyperbolic"),
    "index": ("auto", "flat", "codes", "hnsw", "ivf", "panorama", "gpu"),
    "durability": ("fsync", "os"),
}
# FAISS compares rows with each other by the product that it compares queries with rows by; the
# Lorentz product changes a sign between the two, so no graph or lists of FAISS's can follow it.
HYPERBOLIC_INDEXES: Final = ("auto", "flat")


def _check_ball(spec: CollectionSpec) -> None:
    if spec.metric != "hyperbolic":
        if spec.curvature != 1.0:
            raise InvalidRequestError("curvature goes with the hyperbolic metric only")
        return
    if not 0 < spec.curvature <= MAX_CURVATURE:
        raise InvalidRequestError(
            f"curvature must be above 0 and at most {MAX_CURVATURE:g}, got {spec.curvature}"
        )
    if spec.trained != (spec.dim,):
        raise InvalidRequestError("points of a hyperbolic space have no prefixes: one dimension")
    if spec.index not in HYPERBOLIC_INDEXES:
        raise InvalidRequestError(
            f"index of a hyperbolic collection must be one of {', '.join(HYPERBOLIC_INDEXES)}, "
            f"got {spec.index!r}"
        )


def check_same_settings(there: CollectionSpec, asked: CollectionSpec) -> None:
    """Refuses a collection that is there already, but is another one than was asked for."""
    if there.space != asked.space:
        raise SpaceMismatchError(
            f"collection {asked.name!r} holds vectors of space {there.space}, "
            f"asked for space {asked.space}"
        )
    if replace(there, model="") != replace(asked, dimensions=asked.trained, model=""):
        raise AlreadyExistsError(f"collection {asked.name!r} exists with other settings")


def check_space(space: str) -> None:
    """Refuses what is no fingerprint of a space."""
    if not _SPACE.fullmatch(space):
        raise InvalidRequestError(f"a space is 16 hexadecimal digits, got {space!r}")


def check_same_space(spec: CollectionSpec, space: str) -> None:
    """Refuses vectors of another space."""
    check_space(space)
    if space != spec.space:
        raise SpaceMismatchError(
            f"collection {spec.name!r} holds vectors of space {spec.space}, got space {space}"
        )


def check_dimension(spec: CollectionSpec, dimension: int) -> None:
    """Refuses a prefix length that was not trained."""
    if dimension not in spec.trained:
        known = ", ".join(map(str, spec.trained))
        raise DimensionError(f"dimension must be one of the trained {known}, got {dimension}")


def check_ids(ids: Sequence[str]) -> None:
    """Refuses an empty list, an id that cannot be stored and an id that comes twice."""
    if not 1 <= len(ids) <= MAX_BATCH_ROWS:
        raise InvalidRequestError(f"expected 1 to {MAX_BATCH_ROWS} items, got {len(ids)}")
    seen: set[str] = set()
    for item_id in ids:
        if not isinstance(item_id, str) or not 1 <= len(item_id) <= MAX_ID_CHARACTERS:
            # a prefix of it: the id may be a megabyte
            raise InvalidRequestError(
                f"an id is a string of 1 to {MAX_ID_CHARACTERS} characters, got {item_id!r:.40}"
            )
        if _CONTROL.search(item_id):
            raise InvalidRequestError(f"an id holds no control characters, got {item_id!r}")
        if item_id in seen:
            raise InvalidRequestError(f"id {item_id!r} comes twice in one batch")
        seen.add(item_id)


def check_tenant(tenant: str) -> None:
    """Refuses the name of a tenant that cannot be stored; "" is nobody's."""
    if len(tenant) > MAX_TENANT_CHARACTERS or _CONTROL.search(tenant):
        raise InvalidRequestError(
            f"a tenant is at most {MAX_TENANT_CHARACTERS} characters, none of control, "
            f"got {tenant!r:.40}"
        )


def check_who_and_what(tenant: str, wanted: Filter | None) -> None:
    """Refuses a tenant or a filter that cannot be right."""
    check_tenant(tenant)
    if wanted is not None:
        check_filter(wanted)


def check_delete(ids: Sequence[str] | None, wanted: Filter | None, tenant: str) -> None:
    """Refuses a delete without a condition, but by a tenant's name: that removes the tenant.

    A filter that an empty form or a lost variable left without conditions fits every item.
    """
    if (ids is None) == (wanted is None):
        raise InvalidRequestError("expected ids or a filter to delete by, got both or neither")
    check_who_and_what(tenant, wanted)
    if ids is not None:
        check_ids(ids)
    if wanted is not None and tenant == NO_TENANT and not has_conditions(wanted):
        raise InvalidRequestError(
            "a filter to delete by must hold a condition; to remove every item, drop the collection"
        )


def has_conditions(wanted: Filter) -> bool:
    """Tells whether what a filter fits depends on the item."""
    return any(isinstance(term, Leaf) for term in terms_of(wanted))


def check_origins(items: Sequence[Item]) -> None:
    """Refuses an origin that is no fingerprint of a space."""
    for item in items:
        if item.origin:
            check_space(item.origin)


def check_request_id(request_id: str | None) -> None:
    """Refuses a request id that cannot be stored."""
    if request_id is None:
        return
    if not 1 <= len(request_id) <= MAX_REQUEST_ID_CHARACTERS or _CONTROL.search(request_id):
        raise InvalidRequestError(
            f"a request id is 1 to {MAX_REQUEST_ID_CHARACTERS} characters, got {request_id!r:.40}"
        )


def check_page(cursor: str | None, limit: int) -> tuple[int, int]:
    """The (seq, row) that a cursor stands for; the start without one."""
    if not 1 <= limit <= MAX_PAGE_ROWS:
        raise InvalidRequestError(f"limit must be in 1..{MAX_PAGE_ROWS}, got {limit}")
    if cursor is None:
        return 0, 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidRequestError(f"expected the page token of an earlier page, got {cursor!r:.40}")
    return int(match[1]), int(match[2])


def encode_metadata(item_id: str, metadata: Mapping[str, Any]) -> bytes:
    """Metadata as JSON, refused unless it comes back as it was."""
    if not isinstance(metadata, dict):
        raise InvalidRequestError(f"metadata of {item_id!r} must be a JSON object")
    try:
        encoded = orjson.dumps(metadata)
    except TypeError as error:
        raise InvalidRequestError(f"metadata of {item_id!r} is not JSON: {error}") from error
    if len(encoded) > MAX_METADATA_BYTES:
        raise InvalidRequestError(
            f"metadata of {item_id!r} must not exceed {MAX_METADATA_BYTES} bytes, "
            f"got {len(encoded)}"
        )
    # orjson writes NaN as null and dates as strings
    if orjson.loads(encoded) != metadata:
        raise InvalidRequestError(f"metadata of {item_id!r} holds values that JSON does not")
    return encoded


def stack_vectors(spec: CollectionSpec, items: Sequence[Item]) -> Vector:
    """Vectors of a batch, (rows, dim) float32, finite and with a direction under cosine; a copy."""
    arrays = [as_array(item.vector) for item in items]
    for item, array in zip(items, arrays, strict=True):
        if array.shape != (spec.dim,):
            raise InvalidRequestError(
                f"vector of {item.id!r} must have {spec.dim} values, got shape {array.shape}"
            )
    # of vectors that are there already, this is quicker than a stack of them
    vectors = as_float32(np.concatenate(arrays)).reshape(len(items), spec.dim)
    bad = first_bad_row(spec, vectors)
    if bad is not None:
        row, why = bad
        raise InvalidRequestError(f"vector of {items[row].id!r} {why}")
    return vectors


def query_vectors(spec: CollectionSpec, vectors: npt.ArrayLike, params: SearchParams) -> Vector:
    """Queries cut to the length that the search needs, (queries, length) float32, a copy."""
    queries = as_float32(as_array(vectors))
    cut = params.dimension or spec.dim
    lengths = {spec.dim} if params.rerank else {spec.dim, cut}
    if queries.ndim != QUERY_AXES or not 1 <= len(queries) <= MAX_QUERIES:
        raise InvalidRequestError(
            f"expected 1 to {MAX_QUERIES} query vectors, got an array of shape {queries.shape}"
        )
    if len(queries) * params.k > MAX_HITS:
        raise InvalidRequestError(
            f"queries times k must not exceed {MAX_HITS}, got {len(queries)} times {params.k}"
        )
    if queries.shape[1] not in lengths:
        wanted = " or ".join(map(str, sorted(lengths)))
        raise InvalidRequestError(f"a query must have {wanted} values, got {queries.shape[1]}")
    if not params.rerank:
        queries = queries[:, :cut]
    bad = first_bad_row(spec, queries)
    if bad is not None:
        raise InvalidRequestError(f"query {bad[0]} {bad[1]}")
    # A slice of one row counts as contiguous and would stay a view of the caller's array.
    return queries.copy()


def check_params(spec: CollectionSpec, params: SearchParams) -> None:
    """Refuses parameters that no search can obey."""
    if not 1 <= params.k <= MAX_K:
        raise InvalidRequestError(f"k must be in 1..{MAX_K}, got {params.k}")
    if params.dimension is not None:
        check_dimension(spec, params.dimension)
    check_who_and_what(params.tenant, params.filter)
    if params.threshold is not None and not np.isfinite(params.threshold):
        raise InvalidRequestError(f"threshold must be a finite number, got {params.threshold}")
    if params.min_seq < 0:
        raise InvalidRequestError(f"min_seq must not be negative, got {params.min_seq}")
    _check_dials(params)


def _check_dials(params: SearchParams) -> None:
    if params.exact and params.rerank:
        raise InvalidRequestError("expected exact or rerank, got both")
    if params.breadth is not None and not 1 <= params.breadth <= MAX_BREADTH:
        raise InvalidRequestError(f"breadth must be in 1..{MAX_BREADTH}, got {params.breadth}")
    if params.shortlist is not None and not params.rerank:
        raise InvalidRequestError("shortlist goes with rerank only")
    if params.shortlist is not None and params.shortlist < params.k:
        raise InvalidRequestError(
            f"shortlist must be at least k = {params.k}, got {params.shortlist}"
        )
    if params.shortlist is not None and params.shortlist > MAX_SHORTLIST:
        raise InvalidRequestError(
            f"shortlist must be at most {MAX_SHORTLIST}, got {params.shortlist}"
        )
