"""Answers of the service Server and of the health checks."""

from typing import Any, Literal, Self

from kokeshi.gateway.http.answers import Answer
from kokeshi.gateway.models import dimensions
from kokeshi.service import types


class Model(Answer):
    """A model of the repository; the first four fields are those of OpenAI's clients."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0  # not known: a version folder is what it is at any time
    owned_by: str = "kokeshi"
    name: str
    version: int
    state: str
    reason: str
    method: str = ""
    tasks: tuple[str, ...] = ()
    space: str = ""
    dimensions: tuple[int, ...] = ()
    label_count: int = 0
    trained: bool = False
    card: dict[str, Any] | None = None

    @classmethod
    def of(cls, info: types.ModelInfo, *, with_card: bool = False) -> Self:
        """What is known of a model."""
        card = info.card
        told = cls(
            id=info.name,
            name=info.name,
            version=info.version,
            state=info.state,
            reason=info.reason,
        )
        if card is not None:
            told.method = card.method
            told.tasks = card.tasks
            told.space = card.space
            told.dimensions = dimensions(card)
            told.label_count = len(card.labels)
            told.trained = card.checkpoint.trained
            told.card = card.model_dump(mode="json") if with_card else None
        return told


class ListModelsResponse(Answer):
    """Answer of ListModels, in the form of OpenAI's own."""

    object: Literal["list"] = "list"
    data: list[Model]


class Limits(Answer):
    """Sizes that requests must keep."""

    max_request_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_inputs: int
    max_k: int


class ServerInfo(Answer):
    """What this server is."""

    name: Literal["kokeshi"] = "kokeshi"
    version: str
    engine: str
    providers: list[str]
    uptime_s: float
    limits: Limits


class Health(Answer):
    """Answer of the health checks."""

    status: Literal["live", "ready"]
