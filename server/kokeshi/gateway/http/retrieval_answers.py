"""Answers of the service Retrieval; those of the typed calls are the service's own records."""

from typing import Any

from pydantic import field_validator

from kokeshi.gateway.http.answers import Answer, Floats


class RetrieverInfo(Answer):
    """A retriever or a diagnostic that is installed."""

    name: str
    summary: str
    paper: str
    distribution: str
    does: list[str]
    defaults: dict[str, Any]


class ListRetrieversResponse(Answer):
    """Answer of ListRetrievers."""

    retrievers: list[RetrieverInfo]
    diagnostics: list[RetrieverInfo]


class FittedRetriever(Answer):
    """A fitted model, and what it was fitted on."""

    name: str
    retriever: str
    collection: str
    settings: dict[str, Any]
    space: str
    dimension: int
    labels: str
    count: int
    of: int
    sequence: int
    seed: int
    digest: str
    size_bytes: int
    figures: dict[str, Any]


class ListFittedResponse(Answer):
    """Answer of ListFitted."""

    fitted: list[FittedRetriever]


class DeleteFittedResponse(Answer):
    """Answer of DeleteFitted: nothing."""


class AskRetrieverResponse(Answer):
    """Answer of AskRetriever."""

    retriever: str
    answer: dict[str, Any]
    dimension: int
    neighbours: list[str]
    sequence: int


class Curve(Answer):
    """One plot."""

    title: str
    x_label: str
    y_label: str
    x: Floats
    y: Floats
    kind: str
    names: list[str]


class Interval(Answer):
    """Ends of a range."""

    low: float
    high: float


class DiagnosticResult(Answer):
    """What one diagnostic found."""

    diagnostic: str
    figures: dict[str, float]
    intervals: dict[str, Interval]
    curves: list[Curve]
    flagged: dict[str, str]
    flagged_order: list[str]
    advice: list[str]
    refused: str

    @field_validator("intervals", mode="before")
    @classmethod
    def _named(cls, pairs: dict[str, Any]) -> dict[str, Any]:
        return {name: {"low": low, "high": high} for name, (low, high) in pairs.items()}


class DiagnoseResponse(Answer):
    """Answer of Diagnose."""

    collection: str
    space: str
    count: int
    of: int
    sequence: int
    results: list[DiagnosticResult]


class SpaceMap(Answer):
    """Answer of FitMap."""

    collection: str
    retriever: str
    source: str
    target: str
    count: int
    recall: float | None = None
    model: dict[str, Any]


class Transfer(Answer):
    """How far a transfer has come."""

    source: str
    target: str
    state: str
    read: int
    written: int
    total: int
    native_share: float
    recall: float | None = None
    reason: str
    alias: str
    tenant: str


class RotateCollectionResponse(Answer):
    """Answer of RotateCollection."""

    space: str
    energy: dict[int, float]
    transfer: Transfer
