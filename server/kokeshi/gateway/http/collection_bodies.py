"""Bodies and options of the REST requests about collections; see `requests`."""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, WithJsonSchema

from kokeshi.gateway.http.requests import Body, Count, InputBody, Share
from kokeshi.service.types import OnConflict, SearchMode

MAX_UINT63: Final = 2**63 - 1

Offset = Annotated[int, Field(ge=0, le=MAX_UINT63)]
Filter = Annotated[
    dict[str, Any] | None,
    Field(description='of metadata: {"colour": "red", "year": {"gte": 1990}}'),
]
Tenant = Annotated[str, Field(description="whose items; empty: nobody's")]
# words are read leniently where all else is strict
_OnConflict = Annotated[OnConflict, Field(strict=False)]
_SearchMode = Annotated[SearchMode, Field(strict=False)]
# The words are in the docs; what is none of them is refused by the service, with the same message
# at both doors.
_Index = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "enum": ["auto", "flat", "codes", "hnsw", "ivf", "panorama", "gpu"]}
    ),
]
_Metric = Annotated[
    str, WithJsonSchema({"type": "string", "enum": ["", "cosine", "ip", "l2", "hyperbolic"]})
]
_Durability = Annotated[str, WithJsonSchema({"type": "string", "enum": ["fsync", "os"]})]


class CreateCollectionRequest(Body):
    """Body of CreateCollection."""

    name: str = Field(
        description="1 to 64 of a-z, 0-9, _ and -",
        json_schema_extra={"pattern": "^[a-z0-9_-]{1,64}$"},
    )
    model: str = Field(description="whose embedding space the collection takes")
    index: _Index = Field("auto", description="auto: by size, dimensions and metric")
    durability: _Durability = Field("fsync", description="when a write is acknowledged")
    metric: _Metric = Field(
        "", description="empty: as the model's card says; cosine, ip and l2 stand for one another"
    )


class NewItemBody(Body):
    """Something to keep: an image or text to embed, or a float32 tensor, the vector itself."""

    id: str
    input: InputBody
    metadata: dict[str, Any] = Field({})


class AddItemsOptions(Body):
    """How to add items."""

    on_conflict: _OnConflict = OnConflict.FAIL
    request_id: str = Field("", description="a retry with the same id stores nothing twice")
    space: str = Field("", description="of vectors given as tensors")
    tenant: Tenant = ""


class AddItemsRequest(AddItemsOptions):
    """Body of AddItems."""

    items: list[NewItemBody]


class AddItemsForm(AddItemsOptions):
    """Fields of AddItems beside its files, in their order."""

    id: list[str] = Field([], description="one for each file; default: the name of the file")
    metadata: list[str] = Field([], description="a JSON object for each file, or none at all")


class IngestOptions(Body):
    """Query of Ingest: what holds for all batches."""

    model_config = ConfigDict(strict=False, extra="forbid")

    stream_id: str = Field(
        "", description="the same batches under the same id and offsets are stored once"
    )
    tenant: Tenant = ""
    on_conflict: _OnConflict = OnConflict.FAIL
    space: str = Field("", description="of vectors given as tensors")


class IngestBatchBody(Body):
    """One line of Ingest; an item that cannot be read stops no other."""

    offset: Offset = Field(description="of the batch in its source; ascends")
    items: Annotated[list[Any], WithJsonSchema({"type": "array", "items": {"type": "object"}})] = (
        Field(description="as those of AddItems")
    )


class Chosen(Body):
    """Whose items, and which of them."""

    tenant: Tenant = ""
    filter: Filter = None


class CountItemsRequest(Chosen):
    """Body of CountItems."""


class DeleteItemsRequest(Chosen):
    """Body of DeleteItems: ids or a filter."""

    ids: list[str] = Field([])


class GetItemsRequest(Body):
    """Body of GetItems."""

    ids: list[str]
    with_vectors: bool = False
    tenant: Tenant = ""


class ListItemsQuery(Body):
    """Query of ListItems."""

    model_config = ConfigDict(strict=False, extra="forbid")

    page_size: Count = Field(0, description="0: 100")
    page_token: str = ""
    with_vectors: bool = False
    filter: str = Field("", description="a filter as JSON")
    tenant: Tenant = ""


class AliasBody(Body):
    """Another name of a collection."""

    name: str = Field(
        description="1 to 64 of a-z, 0-9, _ and -, and no collection's",
        json_schema_extra={"pattern": "^[a-z0-9_-]{1,64}$"},
    )
    collection: str


class SetAliasesRequest(Body):
    """Body of SetAliases."""

    aliases: list[AliasBody]


class SearchOptions(Body):
    """How to search."""

    k: Count | None = Field(
        None, description="default 10; with a threshold all that reach it, up to max_k"
    )
    mode: _SearchMode = SearchMode.AUTO
    dimension: Count | None = Field(None, description="prefix length; two_stage: the shortlist's")
    shortlist: Count | None = Field(None, description="two_stage: how many are ranked again")
    breadth: Count | None = Field(
        None, description="candidates of a graph's walk, or lists of an IVF index"
    )
    recall_target: Share | None = Field(
        None, description="share of the true neighbours; instead of mode, shortlist and breadth"
    )
    budget_ms: Share | None = Field(None, description="time of the search; likewise")
    with_vectors: bool = False
    model: str = Field("", description="default: the collection's own")
    space: str = Field("", description="of queries given as tensors")
    tenant: Tenant = ""
    query_ids: list[str] = Field([], description="items as queries, after the others")
    exclude_ids: list[str] = Field([], description="never hits")
    threshold: Share | None = Field(
        None, description="only hits that score at least this, or are at most this far"
    )
    min_sequence: Offset = Field(0, description="the search sees at least this write")
    group_by: str = Field("", description="a field of the metadata: k groups instead of k hits")
    group_size: Count | None = Field(None, description="most hits of a group; default 1")
    collapse: Share | None = Field(
        None, description="hits with a cosine of at least this to a better one are folded into it"
    )
    page_token: str = Field("", description="of the answer to the same search")


class ExampleBody(InputBody):
    """What hits should be like, or unlike: an item's id or an input."""

    id: str | None = None


class ExamplesBody(Body):
    """A query: the mean of the positive ones plus (that mean - the mean of the negative ones)."""

    positive: list[ExampleBody]
    negative: list[ExampleBody] = Field([])


class SearchRequest(SearchOptions):
    """Body of Search."""

    queries: list[InputBody] = Field([], description="answered in order")
    examples: list[ExamplesBody] = Field([], description="further queries, after query_ids")
    filter: Filter = None


class SearchLine(SearchRequest):
    """One line of SearchStream."""

    id: Offset = Field(description="comes back with the answer")


class ExplainRequest(SearchRequest):
    """Body of Explain: a search of one query, and the item."""

    id: str


COLLECTION_BODIES: Final[tuple[type[Body], ...]] = (
    CreateCollectionRequest,
    AddItemsRequest,
    NewItemBody,
    IngestBatchBody,
    GetItemsRequest,
    CountItemsRequest,
    DeleteItemsRequest,
    SetAliasesRequest,
    SearchRequest,
    SearchLine,
    ExplainRequest,
)
