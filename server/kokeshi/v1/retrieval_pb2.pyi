from kokeshi.v1 import inputs_pb2 as _inputs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListRetrieversRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRetrieversResponse(_message.Message):
    __slots__ = ("retrievers", "diagnostics")
    RETRIEVERS_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTICS_FIELD_NUMBER: _ClassVar[int]
    retrievers: _containers.RepeatedCompositeFieldContainer[RetrieverInfo]
    diagnostics: _containers.RepeatedCompositeFieldContainer[RetrieverInfo]
    def __init__(self, retrievers: _Optional[_Iterable[_Union[RetrieverInfo, _Mapping]]] = ..., diagnostics: _Optional[_Iterable[_Union[RetrieverInfo, _Mapping]]] = ...) -> None: ...

class RetrieverInfo(_message.Message):
    __slots__ = ("name", "summary", "paper", "distribution", "does", "defaults_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    PAPER_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    DOES_FIELD_NUMBER: _ClassVar[int]
    DEFAULTS_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    summary: str
    paper: str
    distribution: str
    does: _containers.RepeatedScalarFieldContainer[str]
    defaults_json: str
    def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., paper: _Optional[str] = ..., distribution: _Optional[str] = ..., does: _Optional[_Iterable[str]] = ..., defaults_json: _Optional[str] = ...) -> None: ...

class Judgement(_message.Message):
    __slots__ = ("left_id", "right_id", "score", "same")
    LEFT_ID_FIELD_NUMBER: _ClassVar[int]
    RIGHT_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    left_id: str
    right_id: str
    score: float
    same: bool
    def __init__(self, left_id: _Optional[str] = ..., right_id: _Optional[str] = ..., score: _Optional[float] = ..., same: bool = ...) -> None: ...

class FitRetrieverRequest(_message.Message):
    __slots__ = ("collection", "retriever", "settings_json", "labels", "judgements", "other", "dimension", "name", "seed", "items", "tenant")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    retriever: str
    settings_json: str
    labels: str
    judgements: _containers.RepeatedCompositeFieldContainer[Judgement]
    other: str
    dimension: int
    name: str
    seed: int
    items: int
    tenant: str
    def __init__(self, collection: _Optional[str] = ..., retriever: _Optional[str] = ..., settings_json: _Optional[str] = ..., labels: _Optional[str] = ..., judgements: _Optional[_Iterable[_Union[Judgement, _Mapping]]] = ..., other: _Optional[str] = ..., dimension: _Optional[int] = ..., name: _Optional[str] = ..., seed: _Optional[int] = ..., items: _Optional[int] = ..., tenant: _Optional[str] = ...) -> None: ...

class FittedRetriever(_message.Message):
    __slots__ = ("name", "retriever", "collection", "settings_json", "space", "dimension", "labels", "count", "of", "sequence", "seed", "digest", "size_bytes", "figures_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FIGURES_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    retriever: str
    collection: str
    settings_json: str
    space: str
    dimension: int
    labels: str
    count: int
    of: int
    sequence: int
    seed: int
    digest: str
    size_bytes: int
    figures_json: str
    def __init__(self, name: _Optional[str] = ..., retriever: _Optional[str] = ..., collection: _Optional[str] = ..., settings_json: _Optional[str] = ..., space: _Optional[str] = ..., dimension: _Optional[int] = ..., labels: _Optional[str] = ..., count: _Optional[int] = ..., of: _Optional[int] = ..., sequence: _Optional[int] = ..., seed: _Optional[int] = ..., digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., figures_json: _Optional[str] = ...) -> None: ...

class ListFittedRequest(_message.Message):
    __slots__ = ("collection", "tenant")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    tenant: str
    def __init__(self, collection: _Optional[str] = ..., tenant: _Optional[str] = ...) -> None: ...

class ListFittedResponse(_message.Message):
    __slots__ = ("fitted",)
    FITTED_FIELD_NUMBER: _ClassVar[int]
    fitted: _containers.RepeatedCompositeFieldContainer[FittedRetriever]
    def __init__(self, fitted: _Optional[_Iterable[_Union[FittedRetriever, _Mapping]]] = ...) -> None: ...

class DeleteFittedRequest(_message.Message):
    __slots__ = ("collection", "name", "tenant")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    name: str
    tenant: str
    def __init__(self, collection: _Optional[str] = ..., name: _Optional[str] = ..., tenant: _Optional[str] = ...) -> None: ...

class DeleteFittedResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AskRetrieverRequest(_message.Message):
    __slots__ = ("collection", "input", "id", "retriever", "fitted", "k", "dimension", "settings_json", "tenant", "filter_json", "model", "space")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    FITTED_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FILTER_JSON_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    input: _inputs_pb2.Input
    id: str
    retriever: str
    fitted: str
    k: int
    dimension: int
    settings_json: str
    tenant: str
    filter_json: str
    model: str
    space: str
    def __init__(self, collection: _Optional[str] = ..., input: _Optional[_Union[_inputs_pb2.Input, _Mapping]] = ..., id: _Optional[str] = ..., retriever: _Optional[str] = ..., fitted: _Optional[str] = ..., k: _Optional[int] = ..., dimension: _Optional[int] = ..., settings_json: _Optional[str] = ..., tenant: _Optional[str] = ..., filter_json: _Optional[str] = ..., model: _Optional[str] = ..., space: _Optional[str] = ...) -> None: ...

class AskRetrieverResponse(_message.Message):
    __slots__ = ("retriever", "answer_json", "dimension", "neighbours", "sequence")
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    ANSWER_JSON_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    retriever: str
    answer_json: str
    dimension: int
    neighbours: _containers.RepeatedScalarFieldContainer[str]
    sequence: int
    def __init__(self, retriever: _Optional[str] = ..., answer_json: _Optional[str] = ..., dimension: _Optional[int] = ..., neighbours: _Optional[_Iterable[str]] = ..., sequence: _Optional[int] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("question", "against_id", "field", "value_json")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    AGAINST_ID_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    question: AskRetrieverRequest
    against_id: str
    field: str
    value_json: str
    def __init__(self, question: _Optional[_Union[AskRetrieverRequest, _Mapping]] = ..., against_id: _Optional[str] = ..., field: _Optional[str] = ..., value_json: _Optional[str] = ...) -> None: ...

class Rate(_message.Message):
    __slots__ = ("value", "low", "high", "count")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    count: int
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., count: _Optional[int] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("verdict", "score", "rule", "probability", "probability_interval", "prior", "upper_threshold", "false_match_rate", "lower_threshold", "false_non_match_rate", "references", "retriever", "dimension", "sequence", "of")
    class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VERDICT_UNSPECIFIED: _ClassVar[VerifyResponse.Verdict]
        VERDICT_SAME: _ClassVar[VerifyResponse.Verdict]
        VERDICT_DIFFERENT: _ClassVar[VerifyResponse.Verdict]
        VERDICT_UNCERTAIN: _ClassVar[VerifyResponse.Verdict]
    VERDICT_UNSPECIFIED: VerifyResponse.Verdict
    VERDICT_SAME: VerifyResponse.Verdict
    VERDICT_DIFFERENT: VerifyResponse.Verdict
    VERDICT_UNCERTAIN: VerifyResponse.Verdict
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    PRIOR_FIELD_NUMBER: _ClassVar[int]
    UPPER_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FALSE_MATCH_RATE_FIELD_NUMBER: _ClassVar[int]
    LOWER_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FALSE_NON_MATCH_RATE_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    verdict: VerifyResponse.Verdict
    score: float
    rule: str
    probability: float
    probability_interval: _containers.RepeatedScalarFieldContainer[float]
    prior: float
    upper_threshold: float
    false_match_rate: Rate
    lower_threshold: float
    false_non_match_rate: Rate
    references: int
    retriever: str
    dimension: int
    sequence: int
    of: int
    def __init__(self, verdict: _Optional[_Union[VerifyResponse.Verdict, str]] = ..., score: _Optional[float] = ..., rule: _Optional[str] = ..., probability: _Optional[float] = ..., probability_interval: _Optional[_Iterable[float]] = ..., prior: _Optional[float] = ..., upper_threshold: _Optional[float] = ..., false_match_rate: _Optional[_Union[Rate, _Mapping]] = ..., lower_threshold: _Optional[float] = ..., false_non_match_rate: _Optional[_Union[Rate, _Mapping]] = ..., references: _Optional[int] = ..., retriever: _Optional[str] = ..., dimension: _Optional[int] = ..., sequence: _Optional[int] = ..., of: _Optional[int] = ...) -> None: ...

class Place(_message.Message):
    __slots__ = ("latitude", "longitude")
    LATITUDE_FIELD_NUMBER: _ClassVar[int]
    LONGITUDE_FIELD_NUMBER: _ClassVar[int]
    latitude: float
    longitude: float
    def __init__(self, latitude: _Optional[float] = ..., longitude: _Optional[float] = ...) -> None: ...

class LocateResponse(_message.Message):
    __slots__ = ("place", "support", "voters", "snapped_to", "retriever", "dimension", "sequence", "abstained")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    SNAPPED_TO_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    place: Place
    support: float
    voters: _containers.RepeatedScalarFieldContainer[str]
    snapped_to: str
    retriever: str
    dimension: int
    sequence: int
    abstained: str
    def __init__(self, place: _Optional[_Union[Place, _Mapping]] = ..., support: _Optional[float] = ..., voters: _Optional[_Iterable[str]] = ..., snapped_to: _Optional[str] = ..., retriever: _Optional[str] = ..., dimension: _Optional[int] = ..., sequence: _Optional[int] = ..., abstained: _Optional[str] = ...) -> None: ...

class VoteResponse(_message.Message):
    __slots__ = ("label", "share", "shares", "voters", "abstained", "retriever", "dimension", "sequence")
    class SharesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    label: str
    share: float
    shares: _containers.ScalarMap[str, float]
    voters: int
    abstained: str
    retriever: str
    dimension: int
    sequence: int
    def __init__(self, label: _Optional[str] = ..., share: _Optional[float] = ..., shares: _Optional[_Mapping[str, float]] = ..., voters: _Optional[int] = ..., abstained: _Optional[str] = ..., retriever: _Optional[str] = ..., dimension: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class RecogniseResponse(_message.Message):
    __slots__ = ("is_known", "score", "threshold", "kind", "false_alarms", "caught", "retriever", "dimension", "sequence")
    IS_KNOWN_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FALSE_ALARMS_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    is_known: bool
    score: float
    threshold: float
    kind: str
    false_alarms: Rate
    caught: Rate
    retriever: str
    dimension: int
    sequence: int
    def __init__(self, is_known: bool = ..., score: _Optional[float] = ..., threshold: _Optional[float] = ..., kind: _Optional[str] = ..., false_alarms: _Optional[_Union[Rate, _Mapping]] = ..., caught: _Optional[_Union[Rate, _Mapping]] = ..., retriever: _Optional[str] = ..., dimension: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class AssociateResponse(_message.Message):
    __slots__ = ("pattern", "weights", "neighbours", "energy", "beta", "updates", "labels", "missing_mass_at_most", "retriever", "dimension", "sequence")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MISSING_MASS_AT_MOST_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    pattern: _containers.RepeatedScalarFieldContainer[float]
    weights: _containers.RepeatedScalarFieldContainer[float]
    neighbours: _containers.RepeatedScalarFieldContainer[str]
    energy: float
    beta: float
    updates: int
    labels: _containers.ScalarMap[str, float]
    missing_mass_at_most: float
    retriever: str
    dimension: int
    sequence: int
    def __init__(self, pattern: _Optional[_Iterable[float]] = ..., weights: _Optional[_Iterable[float]] = ..., neighbours: _Optional[_Iterable[str]] = ..., energy: _Optional[float] = ..., beta: _Optional[float] = ..., updates: _Optional[int] = ..., labels: _Optional[_Mapping[str, float]] = ..., missing_mass_at_most: _Optional[float] = ..., retriever: _Optional[str] = ..., dimension: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class DiagnoseRequest(_message.Message):
    __slots__ = ("collection", "diagnostics", "settings_json", "labels", "queries", "other", "seed", "items", "tenant", "model", "space")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTICS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    diagnostics: _containers.RepeatedScalarFieldContainer[str]
    settings_json: str
    labels: str
    queries: _containers.RepeatedCompositeFieldContainer[_inputs_pb2.Input]
    other: str
    seed: int
    items: int
    tenant: str
    model: str
    space: str
    def __init__(self, collection: _Optional[str] = ..., diagnostics: _Optional[_Iterable[str]] = ..., settings_json: _Optional[str] = ..., labels: _Optional[str] = ..., queries: _Optional[_Iterable[_Union[_inputs_pb2.Input, _Mapping]]] = ..., other: _Optional[str] = ..., seed: _Optional[int] = ..., items: _Optional[int] = ..., tenant: _Optional[str] = ..., model: _Optional[str] = ..., space: _Optional[str] = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Curve(_message.Message):
    __slots__ = ("title", "x_label", "y_label", "x", "y", "kind", "names")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    X_LABEL_FIELD_NUMBER: _ClassVar[int]
    Y_LABEL_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    title: str
    x_label: str
    y_label: str
    x: _containers.RepeatedScalarFieldContainer[float]
    y: _containers.RepeatedScalarFieldContainer[float]
    kind: str
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, title: _Optional[str] = ..., x_label: _Optional[str] = ..., y_label: _Optional[str] = ..., x: _Optional[_Iterable[float]] = ..., y: _Optional[_Iterable[float]] = ..., kind: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class DiagnosticResult(_message.Message):
    __slots__ = ("diagnostic", "figures", "intervals", "curves", "flagged", "advice", "refused", "flagged_order")
    class FiguresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class IntervalsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Interval
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Interval, _Mapping]] = ...) -> None: ...
    class FlaggedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DIAGNOSTIC_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    INTERVALS_FIELD_NUMBER: _ClassVar[int]
    CURVES_FIELD_NUMBER: _ClassVar[int]
    FLAGGED_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    FLAGGED_ORDER_FIELD_NUMBER: _ClassVar[int]
    diagnostic: str
    figures: _containers.ScalarMap[str, float]
    intervals: _containers.MessageMap[str, Interval]
    curves: _containers.RepeatedCompositeFieldContainer[Curve]
    flagged: _containers.ScalarMap[str, str]
    advice: _containers.RepeatedScalarFieldContainer[str]
    refused: str
    flagged_order: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, diagnostic: _Optional[str] = ..., figures: _Optional[_Mapping[str, float]] = ..., intervals: _Optional[_Mapping[str, Interval]] = ..., curves: _Optional[_Iterable[_Union[Curve, _Mapping]]] = ..., flagged: _Optional[_Mapping[str, str]] = ..., advice: _Optional[_Iterable[str]] = ..., refused: _Optional[str] = ..., flagged_order: _Optional[_Iterable[str]] = ...) -> None: ...

class DiagnoseResponse(_message.Message):
    __slots__ = ("collection", "space", "count", "of", "sequence", "results")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    space: str
    count: int
    of: int
    sequence: int
    results: _containers.RepeatedCompositeFieldContainer[DiagnosticResult]
    def __init__(self, collection: _Optional[str] = ..., space: _Optional[str] = ..., count: _Optional[int] = ..., of: _Optional[int] = ..., sequence: _Optional[int] = ..., results: _Optional[_Iterable[_Union[DiagnosticResult, _Mapping]]] = ...) -> None: ...

class MapPair(_message.Message):
    __slots__ = ("id", "input")
    ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    id: str
    input: _inputs_pb2.Input
    def __init__(self, id: _Optional[str] = ..., input: _Optional[_Union[_inputs_pb2.Input, _Mapping]] = ...) -> None: ...

class FitMapRequest(_message.Message):
    __slots__ = ("collection", "model", "pairs", "other", "direction", "least_recall", "retriever", "settings_json", "seed", "tenant")
    class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DIRECTION_UNSPECIFIED: _ClassVar[FitMapRequest.Direction]
        DIRECTION_ITEMS: _ClassVar[FitMapRequest.Direction]
        DIRECTION_QUERIES: _ClassVar[FitMapRequest.Direction]
    DIRECTION_UNSPECIFIED: FitMapRequest.Direction
    DIRECTION_ITEMS: FitMapRequest.Direction
    DIRECTION_QUERIES: FitMapRequest.Direction
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    LEAST_RECALL_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    model: str
    pairs: _containers.RepeatedCompositeFieldContainer[MapPair]
    other: str
    direction: FitMapRequest.Direction
    least_recall: float
    retriever: str
    settings_json: str
    seed: int
    tenant: str
    def __init__(self, collection: _Optional[str] = ..., model: _Optional[str] = ..., pairs: _Optional[_Iterable[_Union[MapPair, _Mapping]]] = ..., other: _Optional[str] = ..., direction: _Optional[_Union[FitMapRequest.Direction, str]] = ..., least_recall: _Optional[float] = ..., retriever: _Optional[str] = ..., settings_json: _Optional[str] = ..., seed: _Optional[int] = ..., tenant: _Optional[str] = ...) -> None: ...

class SpaceMap(_message.Message):
    __slots__ = ("collection", "retriever", "source", "target", "count", "recall", "model_json")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    MODEL_JSON_FIELD_NUMBER: _ClassVar[int]
    collection: str
    retriever: str
    source: str
    target: str
    count: int
    recall: float
    model_json: str
    def __init__(self, collection: _Optional[str] = ..., retriever: _Optional[str] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., count: _Optional[int] = ..., recall: _Optional[float] = ..., model_json: _Optional[str] = ...) -> None: ...

class StartMigrationRequest(_message.Message):
    __slots__ = ("source", "target", "tenant")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    source: str
    target: str
    tenant: str
    def __init__(self, source: _Optional[str] = ..., target: _Optional[str] = ..., tenant: _Optional[str] = ...) -> None: ...

class DescribeTransferRequest(_message.Message):
    __slots__ = ("target", "tenant")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    target: str
    tenant: str
    def __init__(self, target: _Optional[str] = ..., tenant: _Optional[str] = ...) -> None: ...

class FinishMigrationRequest(_message.Message):
    __slots__ = ("target", "alias", "tenant", "least_native_share")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LEAST_NATIVE_SHARE_FIELD_NUMBER: _ClassVar[int]
    target: str
    alias: str
    tenant: str
    least_native_share: float
    def __init__(self, target: _Optional[str] = ..., alias: _Optional[str] = ..., tenant: _Optional[str] = ..., least_native_share: _Optional[float] = ...) -> None: ...

class Transfer(_message.Message):
    __slots__ = ("source", "target", "state", "read", "written", "total", "native_share", "recall", "reason", "alias", "tenant")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    NATIVE_SHARE_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    source: str
    target: str
    state: str
    read: int
    written: int
    total: int
    native_share: float
    recall: float
    reason: str
    alias: str
    tenant: str
    def __init__(self, source: _Optional[str] = ..., target: _Optional[str] = ..., state: _Optional[str] = ..., read: _Optional[int] = ..., written: _Optional[int] = ..., total: _Optional[int] = ..., native_share: _Optional[float] = ..., recall: _Optional[float] = ..., reason: _Optional[str] = ..., alias: _Optional[str] = ..., tenant: _Optional[str] = ...) -> None: ...

class RotateCollectionRequest(_message.Message):
    __slots__ = ("collection", "name", "dimensions", "retriever", "settings_json", "seed", "items", "tenant")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    RETRIEVER_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    name: str
    dimensions: _containers.RepeatedScalarFieldContainer[int]
    retriever: str
    settings_json: str
    seed: int
    items: int
    tenant: str
    def __init__(self, collection: _Optional[str] = ..., name: _Optional[str] = ..., dimensions: _Optional[_Iterable[int]] = ..., retriever: _Optional[str] = ..., settings_json: _Optional[str] = ..., seed: _Optional[int] = ..., items: _Optional[int] = ..., tenant: _Optional[str] = ...) -> None: ...

class RotateCollectionResponse(_message.Message):
    __slots__ = ("space", "energy", "transfer")
    class EnergyEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    SPACE_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    space: str
    energy: _containers.ScalarMap[int, float]
    transfer: Transfer
    def __init__(self, space: _Optional[str] = ..., energy: _Optional[_Mapping[int, float]] = ..., transfer: _Optional[_Union[Transfer, _Mapping]] = ...) -> None: ...
