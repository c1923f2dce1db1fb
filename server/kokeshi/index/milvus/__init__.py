"""Collections kept by a Milvus server, behind the calls of `kokeshi.index.store.Store`."""

from kokeshi.index.milvus.store import MilvusStore

__all__ = ["MilvusStore"]
