"""Bodies of the REST requests about retrievers and diagnostics; see `requests`."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.http.collection_bodies import Filter, Tenant
from kokeshi.gateway.http.examples import SEVEN
from kokeshi.gateway.http.json_inputs import inputs, one_input
from kokeshi.gateway.http.requests import MAX_UINT32, Body, Count, InputBody, Share
from kokeshi.service.retrieval.records import (
    DiagnoseOptions,
    FitOptions,
    Judgement,
    MapOptions,
    Question,
    Reference,
    RotateOptions,
)

Seed = Annotated[int, Field(ge=0, le=MAX_UINT32, description="of what is drawn")]
Settings = Annotated[dict[str, Any], Field(description="those of GET /v1/retrievers")]
Value = str | int | float | bool


class JudgementBody(Body):
    """A pair that a user judged: two items, or their similarity."""

    same: bool
    left_id: str = ""
    right_id: str = ""
    score: Share | None = None


class FitRetrieverRequest(Body):
    """Body of FitRetriever."""

    settings: Settings = Field(default_factory=dict)
    labels: str = Field("", description="field of the metadata that holds labels")
    judgements: list[JudgementBody] = Field([], description="instead of labels")
    other: str = Field("", description="a collection of the same ids in another space")
    dimension: Count | None = Field(None, description="fits on this prefix alone")
    name: str = Field("", description="to keep the model under; default the retriever's")
    seed: Seed = 0
    items: Count | None = Field(None, description="of the sample, at most")
    tenant: Tenant = ""

    def options(self) -> FitOptions:
        """As the service takes them."""
        told = self.model_dump(exclude={"judgements"})
        judgements = [Judgement(**each.model_dump()) for each in self.judgements]
        return FitOptions(**told, judgements=judgements)


class AskRetrieverRequest(Body):
    """Body of AskRetriever, Locate, Vote, Recognise and Associate: an input or an id."""

    input: InputBody | None = None
    id: str | None = Field(None, description="of an item, not among its own neighbours")
    retriever: str = Field("", description="default: the call's own")
    fitted: str = Field("", description="name of the model; default the retriever's")
    k: Count | None = Field(None, description="neighbours; default 100")
    dimension: Count | None = None
    settings: Settings = Field(default_factory=dict)
    tenant: Tenant = ""
    filter: Filter = None
    model: str = Field("", description="embeds the query; default the collection's own")
    space: str = Field("", description="of a query given as a tensor")

    def question(self) -> Question:
        """As the service takes it.

        Raises:
            InvalidRequestError: there is no query, or there are two.
        """
        left_out = {"input", "id", "against_id", "field", "value"}
        told = self.model_dump(exclude=left_out)
        if self.id is not None and self.input is not None:
            raise InvalidRequestError("a query is an input or an id, got both")
        if self.id is not None:
            return Question(self.id, **told)
        return Question(one_input(self.input or InputBody(), "input"), **told)


class VerifyRequest(AskRetrieverRequest):
    """Body of Verify: a query, and an item or a field with its value."""

    against_id: str = ""
    field: str = Field("", description="of the metadata: all items where it has the value")
    value: Value | None = None

    def reference(self) -> Reference:
        """As the service takes it."""
        return Reference(self.against_id, self.field, self.value)


class DiagnoseRequest(Body):
    """Body of Diagnose."""

    diagnostics: list[str] = Field([], description="default: each whose needs are met")
    settings: dict[str, dict[str, Any]] = Field({}, description="by diagnostic")
    labels: str = Field("", description="field of the metadata that holds labels")
    queries: list[InputBody] = Field([], description="for drift")
    other: str = Field("", description="a collection of the same ids in another space")
    seed: Seed = 0
    items: Count | None = Field(None, description="of the sample, at most")
    tenant: Tenant = ""
    model: str = ""
    space: str = ""

    def options(self) -> DiagnoseOptions:
        """As the service takes them."""
        told = self.model_dump(exclude={"queries"})
        return DiagnoseOptions(**told, queries=inputs(self.queries, "queries"))


class MapPairBody(Body):
    """An item's id and the input that it was made of."""

    id: str
    input: InputBody


class FitMapRequest(Body):
    """Body of FitMap."""

    model: str = Field("", description="of the other space; embeds the pairs")
    pairs: list[MapPairBody] = Field([], description="items and what they were made of")
    other: str = Field("", description="instead of pairs: a collection of the other space")
    direction: Literal["items", "queries"] = Field(
        "items", description="items into the other space, or queries of that into the collection's"
    )
    least_recall: Share | None = Field(None, description="on held-out queries")
    retriever: str = ""
    settings: Settings = Field(default_factory=dict)
    seed: Seed = 0
    tenant: Tenant = ""

    def options(self) -> MapOptions:
        """As the service takes them."""
        told = self.model_dump(exclude={"pairs"})
        pairs = [
            (pair.id, one_input(pair.input, f"pairs[{i}].input"))
            for i, pair in enumerate(self.pairs)
        ]
        return MapOptions(**told, pairs=pairs)


class StartMigrationRequest(Body):
    """Body of StartMigration."""

    source: str = Field(description="the old collection")
    tenant: Tenant = ""


class FinishMigrationRequest(Body):
    """Body of FinishMigration."""

    alias: str
    least_native_share: Share = Field(0, description="of items that the new model embedded")
    tenant: Tenant = ""


class RotateCollectionRequest(Body):
    """Body of RotateCollection."""

    name: str = Field(description="of the new collection")
    dimensions: list[Count] = Field([], description="default: powers of two from 8 on")
    retriever: str = ""
    settings: Settings = Field(default_factory=dict)
    seed: Seed = 0
    items: Count | None = None
    tenant: Tenant = ""

    def options(self) -> RotateOptions:
        """As the service takes them."""
        return RotateOptions(**self.model_dump())


_IMAGE: Final = {"image": SEVEN}
# What the docs fill in, by the name of the body's record.
EXAMPLES: Final[dict[str, Any]] = {
    "FitRetrieverRequest": {"labels": "label", "dimension": 16},
    "AskRetrieverRequest": {"input": _IMAGE, "k": 20},
    "VerifyRequest": {"input": _IMAGE, "field": "label", "value": "7"},
    "DiagnoseRequest": {"diagnostics": ["intrinsic_dimension"]},
    "FitMapRequest": {"other": "newer", "direction": "items"},
    "StartMigrationRequest": {"source": "sevens"},
    "FinishMigrationRequest": {"alias": "numbers", "least_native_share": 0.9},
    "RotateCollectionRequest": {"name": "turned", "dimensions": [8, 16]},
}
RETRIEVAL_BODIES: Final[tuple[type[Body], ...]] = (
    FitRetrieverRequest,
    AskRetrieverRequest,
    VerifyRequest,
    DiagnoseRequest,
    FitMapRequest,
    StartMigrationRequest,
    FinishMigrationRequest,
    RotateCollectionRequest,
)
