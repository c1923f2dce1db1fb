"""Fitted models, kept in the notes of a collection: a small header, and the model beside it."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from threading import Lock
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from kokeshi.errors import (
    InvalidRequestError,
    NotFoundError,
    SpaceMismatchError,
    UnavailableError,
    UnimplementedError,
)
from kokeshi.index.notes import Notes
from kokeshi.plugin import Retriever
from kokeshi.registry import Registry
from kokeshi.service.retrieval.records import Fitted, MapInfo

FITTED: Final = "fitted"
MAP: Final = "map"
ROTATION: Final = "rotation"
TRANSFER: Final = "transfer"
_MODEL: Final = ".model"  # after a header's kind: that of the model beside it
_TENANT: Final = "/"  # in a kind, before the tenant


def retriever_of(registry: Registry, name: str) -> Retriever:
    """A retriever by its name.

    Raises:
        NotFoundError: no plugin offers it.
    """
    if name not in registry.retrievers:
        known = ", ".join(sorted(registry.retrievers)) or "none"
        raise NotFoundError(f"no retriever named {name!r}; there are: {known}")
    return registry.retrievers[name]


class Keeper:
    """Keeps and gives back what fits return. Threads may share it.

    Args:
        notes: where they lie; None: nothing can be kept.
        registry: of the retrievers that made them.
        most: models that stay unpacked.
    """

    def __init__(self, notes: Notes | None, registry: Registry, most: int) -> None:
        self._notes = notes
        self._registry = registry
        self._most = most
        self._unpacked: OrderedDict[str, BaseModel] = OrderedDict()
        self._lock = Lock()

    @property
    def is_keeping(self) -> bool:
        """Whether anything can be kept."""
        return self._notes is not None

    @property
    def notes(self) -> Notes:
        """Where things lie.

        Raises:
            UnimplementedError: nowhere.
        """
        if self._notes is None:
            raise UnimplementedError("this server has no notes, so it keeps no fitted models")
        return self._notes

    def put(self, kind: str, name: str, header: Mapping[str, Any], model: BaseModel) -> str:
        """Keeps a model of `header["collection"]`; returns its digest.

        The model is on the disk before the header names it.
        """
        data = model.model_dump_json().encode()
        digest = sha256(data).hexdigest()
        collection = header["collection"]
        self.notes.put(collection, kind + _MODEL, name, data)
        told = {**header, "digest": digest, "size_bytes": len(data)}
        self.notes.put(collection, kind, name, told)
        return digest

    def header(self, collection: str, kind: str, name: str) -> dict[str, Any] | None:
        """What is told of a model; None where there is none."""
        header: dict[str, Any] | None = self.notes.get(collection, kind, name)
        return header

    def model(self, collection: str, kind: str, name: str, header: Mapping[str, Any]) -> BaseModel:
        """The model of a header.

        Raises:
            UnavailableError: it is damaged, or another takes its place now.
            InvalidRequestError: it is of another version of its retriever.
        """
        digest = header["digest"]
        with self._lock:
            if digest in self._unpacked:
                self._unpacked.move_to_end(digest)
                return self._unpacked[digest]
        data = self.notes.get(collection, kind + _MODEL, name)
        if data is None or sha256(data).hexdigest() != digest:
            raise UnavailableError(f"model {name!r} is being replaced: ask again")
        found = _unpacked(retriever_of(self._registry, header["retriever"]), name, data)
        with self._lock:
            self._unpacked[digest] = found
            while len(self._unpacked) > self._most:
                self._unpacked.popitem(last=False)
        return found

    def names(self, collection: str, kind: str) -> list[str]:
        """Names of what is kept of a kind."""
        return [note.name for note in self.notes.list(collection, kind)]

    def delete(self, collection: str, kind: str, name: str) -> bool:
        """Forgets a model; false where there was none."""
        was_there = self.notes.delete(collection, kind, name)
        self.notes.delete(collection, kind + _MODEL, name)
        return was_there

    def keep_fitted(self, fitted: Fitted, tenant: str, model: BaseModel) -> Fitted:
        """Keeps what a retriever was fitted to."""
        kind = kind_of(FITTED, tenant)
        self.put(kind, fitted.name, asdict(fitted), model)
        return self.fitted(fitted.collection, fitted.name, tenant)

    def fitted(self, collection: str, name: str, tenant: str) -> Fitted:
        """What is told of a fitted model.

        Raises:
            NotFoundError: there is none.
        """
        header = self.header(collection, kind_of(FITTED, tenant), name)
        if header is None:
            raise NotFoundError(f"nothing is fitted under {name!r} for collection {collection!r}")
        return Fitted(**header)

    def fitted_model(self, fitted: Fitted, tenant: str) -> BaseModel:
        """See `model`."""
        kind = kind_of(FITTED, tenant)
        return self.model(fitted.collection, kind, fitted.name, asdict(fitted))

    def way(self, kind: str, collection: str, source: str, target: str) -> "Way | None":
        """From vectors of one space to vectors of another; None where nobody fitted one."""
        if self._notes is None:
            return None
        name = way_name(source, target)
        header = self.header(collection, kind, name)
        if header is None:
            return None
        model = self.model(collection, kind, name, header)
        retriever = retriever_of(self._registry, header["retriever"])
        return Way(retriever, model, MapInfo(**_without_digest(header)))


class Way:
    """Takes vectors of one space into another."""

    def __init__(self, retriever: Retriever, model: BaseModel, info: MapInfo) -> None:
        self.retriever = retriever
        self.model = model
        self.info = info

    def __call__(self, vectors: Any) -> Any:  # noqa: ANN401 - float32 (n, dim)
        """Vectors (n, dim) float32 of the other space."""
        assert self.retriever.apply is not None  # checked before it was kept
        return self.retriever.apply(vectors, self.model)


def way_name(source: str, target: str) -> str:
    """The name of a way among those of a collection."""
    return f"{source}-{target}"


def kind_of(kind: str, tenant: str) -> str:
    """The kind of a tenant's own note: one tenant never meets another's."""
    return f"{kind}{_TENANT}{tenant}" if tenant else kind


def check_space(fitted: Fitted, space: str) -> None:
    """Refuses a model of another space.

    Raises:
        SpaceMismatchError: it is one.
    """
    if fitted.space != space:
        raise SpaceMismatchError(
            f"{fitted.name!r} was fitted in space {fitted.space!r}, the collection is of {space!r}"
        )


def _unpacked(retriever: Retriever, name: str, data: bytes) -> BaseModel:
    assert retriever.model is not None  # it was fitted
    try:
        return retriever.model.model_validate_json(data)
    except ValidationError as error:
        raise InvalidRequestError(
            f"{name!r} was fitted by another version of {retriever.name!r}: fit it again"
        ) from error


def _without_digest(header: Mapping[str, Any]) -> dict[str, Any]:
    return {key: header[key] for key in header if key not in {"digest", "size_bytes"}}
