"""The store that the settings name, and the embedded one of any folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from kokeshi.errors import SetupError
from kokeshi.settings import Settings

if TYPE_CHECKING:
    from kokeshi.index import EmbeddedStore, Store


def store_of(settings: Settings) -> "Store":
    """What keeps the collections: searches that come together share a pass, and recall is measured.

    Raises:
        SetupError: the data folder cannot be used, or a client is not installed.
    """
    from kokeshi.index.batching import WALKED, Batched

    is_here = settings.store == "embedded"
    # a server elsewhere is asked once for many, whatever its index
    store = Batched(_bare(settings), walked=WALKED if is_here else frozenset())
    return _measured(store, settings) if settings.recall_share else store


def _measured(store: "Store", settings: Settings) -> "Store":
    from kokeshi.index.notes import Notes
    from kokeshi.index.recall import Measured, NotesKeeper, Pace, Sampling

    return Measured(
        store,
        sampling=Sampling(share=settings.recall_share),
        pace=Pace(core_share=settings.recall_core_share),
        keeper=NotesKeeper(Notes(settings.data)),
    )


def _bare(settings: Settings) -> "Store":
    scheme, _, place = settings.store.partition("://")
    match scheme:
        case "milvus" | "milvuss":
            return _milvus(f"{_web(scheme)}://{place}", settings)
        case "qdrant" | "qdrants":
            return _qdrant(f"{_web(scheme)}://{place}", settings)
    return embedded(settings.data, settings)


def _web(scheme: str) -> str:
    return "https" if scheme in {"milvuss", "qdrants"} else "http"


def embedded_in(directory: Path, settings: Settings) -> "EmbeddedStore":
    """The embedded store that a folder has, opened as `kokeshi serve` opens it.

    Raises:
        SetupError: it has none, which is not made then, or the folder is in use.
    """
    from kokeshi.index.schema import DATABASE, RESTORING

    if not any((directory / name).exists() for name in (DATABASE, RESTORING)):
        raise SetupError(f"there is no database in {directory}")
    return embedded(directory, settings)


def embedded(directory: Path, settings: Settings) -> "EmbeddedStore":
    """The embedded store of a folder, as the settings tune it; made where there is none.

    Raises:
        SetupError: the folder cannot be used, or is in use.
    """
    from kokeshi.index import EmbeddedStore
    from kokeshi.index.tuning import tuned

    return EmbeddedStore(
        directory,
        tuned(settings.store_tuning),
        allow_network_files=settings.allow_network_files,
    )


def _milvus(url: str, settings: Settings) -> "Store":
    from kokeshi.index.milvus import MilvusStore

    return MilvusStore(url, token=settings.store_token, timeout_s=settings.store_timeout_s)


def _qdrant(url: str, settings: Settings) -> "Store":
    from kokeshi.index.qdrant import QdrantStore

    return QdrantStore(url, api_key=settings.store_token, timeout_s=settings.store_timeout_s)
