from kokeshi.v1 import inputs_pb2 as _inputs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IndexKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INDEX_KIND_UNSPECIFIED: _ClassVar[IndexKind]
    INDEX_KIND_AUTO: _ClassVar[IndexKind]
    INDEX_KIND_FLAT: _ClassVar[IndexKind]
    INDEX_KIND_HNSW: _ClassVar[IndexKind]
    INDEX_KIND_CODES: _ClassVar[IndexKind]
    INDEX_KIND_IVF: _ClassVar[IndexKind]
    INDEX_KIND_PANORAMA: _ClassVar[IndexKind]
    INDEX_KIND_GPU: _ClassVar[IndexKind]

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_FSYNC: _ClassVar[Durability]
    DURABILITY_OS: _ClassVar[Durability]

class OnConflict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_CONFLICT_UNSPECIFIED: _ClassVar[OnConflict]
    ON_CONFLICT_FAIL: _ClassVar[OnConflict]
    ON_CONFLICT_REPLACE: _ClassVar[OnConflict]

class SearchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_MODE_UNSPECIFIED: _ClassVar[SearchMode]
    SEARCH_MODE_AUTO: _ClassVar[SearchMode]
    SEARCH_MODE_EXACT: _ClassVar[SearchMode]
    SEARCH_MODE_TWO_STAGE: _ClassVar[SearchMode]

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_FOUND: _ClassVar[Stage]
    STAGE_NOT_STORED: _ClassVar[Stage]
    STAGE_FILTER: _ClassVar[Stage]
    STAGE_EXCLUDED: _ClassVar[Stage]
    STAGE_THRESHOLD: _ClassVar[Stage]
    STAGE_BELOW_K: _ClassVar[Stage]
    STAGE_SHORTLIST: _ClassVar[Stage]
INDEX_KIND_UNSPECIFIED: IndexKind
INDEX_KIND_AUTO: IndexKind
INDEX_KIND_FLAT: IndexKind
INDEX_KIND_HNSW: IndexKind
INDEX_KIND_CODES: IndexKind
INDEX_KIND_IVF: IndexKind
INDEX_KIND_PANORAMA: IndexKind
INDEX_KIND_GPU: IndexKind
DURABILITY_UNSPECIFIED: Durability
DURABILITY_FSYNC: Durability
DURABILITY_OS: Durability
ON_CONFLICT_UNSPECIFIED: OnConflict
ON_CONFLICT_FAIL: OnConflict
ON_CONFLICT_REPLACE: OnConflict
SEARCH_MODE_UNSPECIFIED: SearchMode
SEARCH_MODE_AUTO: SearchMode
SEARCH_MODE_EXACT: SearchMode
SEARCH_MODE_TWO_STAGE: SearchMode
STAGE_UNSPECIFIED: Stage
STAGE_FOUND: Stage
STAGE_NOT_STORED: Stage
STAGE_FILTER: Stage
STAGE_EXCLUDED: Stage
STAGE_THRESHOLD: Stage
STAGE_BELOW_K: Stage
STAGE_SHORTLIST: Stage

class CreateCollectionRequest(_message.Message):
    __slots__ = ("name", "model", "index", "durability", "metric")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    index: IndexKind
    durability: Durability
    metric: str
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., index: _Optional[_Union[IndexKind, str]] = ..., durability: _Optional[_Union[Durability, str]] = ..., metric: _Optional[str] = ...) -> None: ...

class Collection(_message.Message):
    __slots__ = ("name", "model", "space", "dimension", "dimensions", "metric", "index", "durability", "count", "sequence", "indexed_sequence", "index_in_use", "tail", "dead", "memory_bytes", "mapped_bytes", "build_progress", "quarantine", "tenants", "curvature")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INDEXED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INDEX_IN_USE_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAPPED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUILD_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    CURVATURE_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    space: str
    dimension: int
    dimensions: _containers.RepeatedScalarFieldContainer[int]
    metric: str
    index: IndexKind
    durability: Durability
    count: int
    sequence: int
    indexed_sequence: int
    index_in_use: str
    tail: int
    dead: int
    memory_bytes: int
    mapped_bytes: int
    build_progress: float
    quarantine: str
    tenants: int
    curvature: float
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., space: _Optional[str] = ..., dimension: _Optional[int] = ..., dimensions: _Optional[_Iterable[int]] = ..., metric: _Optional[str] = ..., index: _Optional[_Union[IndexKind, str]] = ..., durability: _Optional[_Union[Durability, str]] = ..., count: _Optional[int] = ..., sequence: _Optional[int] = ..., indexed_sequence: _Optional[int] = ..., index_in_use: _Optional[str] = ..., tail: _Optional[int] = ..., dead: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., mapped_bytes: _Optional[int] = ..., build_progress: _Optional[float] = ..., quarantine: _Optional[str] = ..., tenants: _Optional[int] = ..., curvature: _Optional[float] = ...) -> None: ...

class ListCollectionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListCollectionsResponse(_message.Message):
    __slots__ = ("collections",)
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    def __init__(self, collections: _Optional[_Iterable[_Union[Collection, _Mapping]]] = ...) -> None: ...

class DescribeCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteCollectionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NewItem(_message.Message):
    __slots__ = ("id", "input", "metadata_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    input: _inputs_pb2.Input
    metadata_json: str
    def __init__(self, id: _Optional[str] = ..., input: _Optional[_Union[_inputs_pb2.Input, _Mapping]] = ..., metadata_json: _Optional[str] = ...) -> None: ...

class AddItemsRequest(_message.Message):
    __slots__ = ("collection", "items", "on_conflict", "request_id", "space", "tenant")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ON_CONFLICT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    items: _containers.RepeatedCompositeFieldContainer[NewItem]
    on_conflict: OnConflict
    request_id: str
    space: str
    tenant: str
    def __init__(self, collection: _Optional[str] = ..., items: _Optional[_Iterable[_Union[NewItem, _Mapping]]] = ..., on_conflict: _Optional[_Union[OnConflict, str]] = ..., request_id: _Optional[str] = ..., space: _Optional[str] = ..., tenant: _Optional[str] = ...) -> None: ...

class AddItemsResponse(_message.Message):
    __slots__ = ("count", "sequence")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    count: int
    sequence: int
    def __init__(self, count: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class IngestRequest(_message.Message):
    __slots__ = ("collection", "stream_id", "tenant", "on_conflict", "space", "offset", "items")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ON_CONFLICT_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    stream_id: str
    tenant: str
    on_conflict: OnConflict
    space: str
    offset: int
    items: _containers.RepeatedCompositeFieldContainer[NewItem]
    def __init__(self, collection: _Optional[str] = ..., stream_id: _Optional[str] = ..., tenant: _Optional[str] = ..., on_conflict: _Optional[_Union[OnConflict, str]] = ..., space: _Optional[str] = ..., offset: _Optional[int] = ..., items: _Optional[_Iterable[_Union[NewItem, _Mapping]]] = ...) -> None: ...

class IngestResponse(_message.Message):
    __slots__ = ("offset", "sequence", "count", "errors")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    offset: int
    sequence: int
    count: int
    errors: _containers.RepeatedCompositeFieldContainer[ItemError]
    def __init__(self, offset: _Optional[int] = ..., sequence: _Optional[int] = ..., count: _Optional[int] = ..., errors: _Optional[_Iterable[_Union[ItemError, _Mapping]]] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("position", "id", "code", "message")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    position: int
    id: str
    code: str
    message: str
    def __init__(self, position: _Optional[int] = ..., id: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "metadata_json", "vector", "sequence", "origin")
    ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    id: str
    metadata_json: str
    vector: _containers.RepeatedScalarFieldContainer[float]
    sequence: int
    origin: str
    def __init__(self, id: _Optional[str] = ..., metadata_json: _Optional[str] = ..., vector: _Optional[_Iterable[float]] = ..., sequence: _Optional[int] = ..., origin: _Optional[str] = ...) -> None: ...

class GetItemsRequest(_message.Message):
    __slots__ = ("collection", "ids", "with_vectors", "tenant")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    with_vectors: bool
    tenant: str
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., with_vectors: bool = ..., tenant: _Optional[str] = ...) -> None: ...

class GetItemsResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class ListItemsRequest(_message.Message):
    __slots__ = ("collection", "page_size", "page_token", "with_vectors", "tenant", "filter_json")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FILTER_JSON_FIELD_NUMBER: _ClassVar[int]
    collection: str
    page_size: int
    page_token: str
    with_vectors: bool
    tenant: str
    filter_json: str
    def __init__(self, collection: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., with_vectors: bool = ..., tenant: _Optional[str] = ..., filter_json: _Optional[str] = ...) -> None: ...

class ListItemsResponse(_message.Message):
    __slots__ = ("items", "next_page_token")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    next_page_token: str
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CountItemsRequest(_message.Message):
    __slots__ = ("collection", "tenant", "filter_json")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FILTER_JSON_FIELD_NUMBER: _ClassVar[int]
    collection: str
    tenant: str
    filter_json: str
    def __init__(self, collection: _Optional[str] = ..., tenant: _Optional[str] = ..., filter_json: _Optional[str] = ...) -> None: ...

class CountItemsResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class ListTenantsRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class Tenant(_message.Message):
    __slots__ = ("name", "count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ListTenantsResponse(_message.Message):
    __slots__ = ("tenants",)
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    tenants: _containers.RepeatedCompositeFieldContainer[Tenant]
    def __init__(self, tenants: _Optional[_Iterable[_Union[Tenant, _Mapping]]] = ...) -> None: ...

class DeleteItemsRequest(_message.Message):
    __slots__ = ("collection", "ids", "tenant", "filter_json")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FILTER_JSON_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    tenant: str
    filter_json: str
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., tenant: _Optional[str] = ..., filter_json: _Optional[str] = ...) -> None: ...

class DeleteItemsResponse(_message.Message):
    __slots__ = ("count", "sequence")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    count: int
    sequence: int
    def __init__(self, count: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class Example(_message.Message):
    __slots__ = ("id", "input")
    ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    id: str
    input: _inputs_pb2.Input
    def __init__(self, id: _Optional[str] = ..., input: _Optional[_Union[_inputs_pb2.Input, _Mapping]] = ...) -> None: ...

class Examples(_message.Message):
    __slots__ = ("positive", "negative")
    POSITIVE_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_FIELD_NUMBER: _ClassVar[int]
    positive: _containers.RepeatedCompositeFieldContainer[Example]
    negative: _containers.RepeatedCompositeFieldContainer[Example]
    def __init__(self, positive: _Optional[_Iterable[_Union[Example, _Mapping]]] = ..., negative: _Optional[_Iterable[_Union[Example, _Mapping]]] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("collection", "queries", "k", "mode", "dimension", "shortlist", "with_vectors", "model", "space", "tenant", "filter_json", "query_ids", "examples", "exclude_ids", "threshold", "min_sequence", "breadth", "recall_target", "budget_ms", "group_by", "group_size", "collapse", "page_token")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SHORTLIST_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FILTER_JSON_FIELD_NUMBER: _ClassVar[int]
    QUERY_IDS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_IDS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BREADTH_FIELD_NUMBER: _ClassVar[int]
    RECALL_TARGET_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    GROUP_SIZE_FIELD_NUMBER: _ClassVar[int]
    COLLAPSE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    collection: str
    queries: _containers.RepeatedCompositeFieldContainer[_inputs_pb2.Input]
    k: int
    mode: SearchMode
    dimension: int
    shortlist: int
    with_vectors: bool
    model: str
    space: str
    tenant: str
    filter_json: str
    query_ids: _containers.RepeatedScalarFieldContainer[str]
    examples: _containers.RepeatedCompositeFieldContainer[Examples]
    exclude_ids: _containers.RepeatedScalarFieldContainer[str]
    threshold: float
    min_sequence: int
    breadth: int
    recall_target: float
    budget_ms: float
    group_by: str
    group_size: int
    collapse: float
    page_token: str
    def __init__(self, collection: _Optional[str] = ..., queries: _Optional[_Iterable[_Union[_inputs_pb2.Input, _Mapping]]] = ..., k: _Optional[int] = ..., mode: _Optional[_Union[SearchMode, str]] = ..., dimension: _Optional[int] = ..., shortlist: _Optional[int] = ..., with_vectors: bool = ..., model: _Optional[str] = ..., space: _Optional[str] = ..., tenant: _Optional[str] = ..., filter_json: _Optional[str] = ..., query_ids: _Optional[_Iterable[str]] = ..., examples: _Optional[_Iterable[_Union[Examples, _Mapping]]] = ..., exclude_ids: _Optional[_Iterable[str]] = ..., threshold: _Optional[float] = ..., min_sequence: _Optional[int] = ..., breadth: _Optional[int] = ..., recall_target: _Optional[float] = ..., budget_ms: _Optional[float] = ..., group_by: _Optional[str] = ..., group_size: _Optional[int] = ..., collapse: _Optional[float] = ..., page_token: _Optional[str] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("kind", "first", "shortlist", "breadth")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SHORTLIST_FIELD_NUMBER: _ClassVar[int]
    BREADTH_FIELD_NUMBER: _ClassVar[int]
    kind: str
    first: int
    shortlist: int
    breadth: int
    def __init__(self, kind: _Optional[str] = ..., first: _Optional[int] = ..., shortlist: _Optional[int] = ..., breadth: _Optional[int] = ...) -> None: ...

class RecallEstimate(_message.Message):
    __slots__ = ("value", "low", "high", "samples")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    samples: int
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., samples: _Optional[int] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("results", "space", "dimension", "higher_is_better", "sequence", "exact", "proven_exact", "route", "recall_estimate", "next_page_token")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    HIGHER_IS_BETTER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    PROVEN_EXACT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    RECALL_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Hits]
    space: str
    dimension: int
    higher_is_better: bool
    sequence: int
    exact: bool
    proven_exact: bool
    route: Route
    recall_estimate: RecallEstimate
    next_page_token: str
    def __init__(self, results: _Optional[_Iterable[_Union[Hits, _Mapping]]] = ..., space: _Optional[str] = ..., dimension: _Optional[int] = ..., higher_is_better: bool = ..., sequence: _Optional[int] = ..., exact: bool = ..., proven_exact: bool = ..., route: _Optional[_Union[Route, _Mapping]] = ..., recall_estimate: _Optional[_Union[RecallEstimate, _Mapping]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Hits(_message.Message):
    __slots__ = ("hits", "groups")
    HITS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("value_json", "hits")
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    value_json: str
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    def __init__(self, value_json: _Optional[str] = ..., hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("id", "score", "metadata_json", "vector", "collapsed_ids")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    COLLAPSED_IDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    metadata_json: str
    vector: _containers.RepeatedScalarFieldContainer[float]
    collapsed_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., metadata_json: _Optional[str] = ..., vector: _Optional[_Iterable[float]] = ..., collapsed_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SearchStreamRequest(_message.Message):
    __slots__ = ("id", "search")
    ID_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    id: int
    search: SearchRequest
    def __init__(self, id: _Optional[int] = ..., search: _Optional[_Union[SearchRequest, _Mapping]] = ...) -> None: ...

class SearchStreamResponse(_message.Message):
    __slots__ = ("id", "answer", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    answer: SearchResponse
    error: CallError
    def __init__(self, id: _Optional[int] = ..., answer: _Optional[_Union[SearchResponse, _Mapping]] = ..., error: _Optional[_Union[CallError, _Mapping]] = ...) -> None: ...

class CallError(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("search", "id")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    search: SearchRequest
    id: str
    def __init__(self, search: _Optional[_Union[SearchRequest, _Mapping]] = ..., id: _Optional[str] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("stage", "rank", "route", "higher_is_better", "dimensions", "blocks", "sequence")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    HIGHER_IS_BETTER_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    stage: Stage
    rank: int
    route: Route
    higher_is_better: bool
    dimensions: _containers.RepeatedCompositeFieldContainer[DimensionScore]
    blocks: _containers.RepeatedCompositeFieldContainer[BlockScore]
    sequence: int
    def __init__(self, stage: _Optional[_Union[Stage, str]] = ..., rank: _Optional[int] = ..., route: _Optional[_Union[Route, _Mapping]] = ..., higher_is_better: bool = ..., dimensions: _Optional[_Iterable[_Union[DimensionScore, _Mapping]]] = ..., blocks: _Optional[_Iterable[_Union[BlockScore, _Mapping]]] = ..., sequence: _Optional[int] = ...) -> None: ...

class DimensionScore(_message.Message):
    __slots__ = ("dimension", "score", "rank")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    dimension: int
    score: float
    rank: int
    def __init__(self, dimension: _Optional[int] = ..., score: _Optional[float] = ..., rank: _Optional[int] = ...) -> None: ...

class BlockScore(_message.Message):
    __slots__ = ("begin", "end", "contribution")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    begin: int
    end: int
    contribution: float
    def __init__(self, begin: _Optional[int] = ..., end: _Optional[int] = ..., contribution: _Optional[float] = ...) -> None: ...

class Alias(_message.Message):
    __slots__ = ("name", "collection")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    collection: str
    def __init__(self, name: _Optional[str] = ..., collection: _Optional[str] = ...) -> None: ...

class SetAliasesRequest(_message.Message):
    __slots__ = ("aliases",)
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedCompositeFieldContainer[Alias]
    def __init__(self, aliases: _Optional[_Iterable[_Union[Alias, _Mapping]]] = ...) -> None: ...

class SetAliasesResponse(_message.Message):
    __slots__ = ("aliases",)
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedCompositeFieldContainer[Alias]
    def __init__(self, aliases: _Optional[_Iterable[_Union[Alias, _Mapping]]] = ...) -> None: ...

class ListAliasesRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class ListAliasesResponse(_message.Message):
    __slots__ = ("aliases",)
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedCompositeFieldContainer[Alias]
    def __init__(self, aliases: _Optional[_Iterable[_Union[Alias, _Mapping]]] = ...) -> None: ...

class DeleteAliasRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteAliasResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
