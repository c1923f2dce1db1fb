"""Curves in the notes of the data directory."""

import logging
from typing import Final

from kokeshi.errors import KokeshiError
from kokeshi.index.notes import Notes

logger = logging.getLogger(__name__)

KIND: Final = "recall"
NAME: Final = "curve"


class NotesKeeper:
    """See `kokeshi.index.recall.curve.Keeper`; notes that cannot be used cost a survey, no more.

    Args:
        notes: nobody else's; closed with the keeper.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def load(self, collection: str) -> bytes | None:
        """See `Keeper.load`."""
        try:
            kept = self._notes.get(collection, KIND, NAME)
        except KokeshiError as error:
            logger.warning("the curve of collection %r is lost: %s", collection, error)
            return None
        return kept if isinstance(kept, bytes) else None

    def save(self, collection: str, curve: bytes) -> None:
        """See `Keeper.save`."""
        try:
            self._notes.put(collection, KIND, NAME, curve)
        except KokeshiError as error:
            logger.warning("the curve of collection %r was not kept: %s", collection, error)

    def close(self) -> None:
        """See `Keeper.close`."""
        self._notes.close()
