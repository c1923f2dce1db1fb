"""Collections kept by Qdrant, behind the calls of `kokeshi.index.store.Store`."""

from kokeshi.index.qdrant.store import QdrantStore

__all__ = ["QdrantStore"]
