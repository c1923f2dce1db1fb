"""Notices that model folders have changed, and have stopped changing."""

from pathlib import Path

from kokeshi.engines.folders import Signature, signature
from kokeshi.engines.repository import model_names


class Changes:
    """Compares a repository with what it was. Every method blocks: not for the event loop.

    Args:
        repository: folder of model folders.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._acted: dict[str, Signature] = {}  # what was told
        self._seen: dict[str, Signature] = {}  # what was there the last time

    def begin(self) -> list[str]:
        """Names of the models; all that changes from now on is news.

        Raises:
            ArtefactError: the repository is not a folder.
        """
        self._seen = self._look()
        self._acted = dict(self._seen)
        return sorted(self._seen)

    def settled(self) -> list[str]:
        """Names of the models that came, went or changed, and are as they were the last time.

        A folder that somebody still copies into is told of when it has come to rest.

        Raises:
            ArtefactError: the repository is not a folder.
        """
        now, before = self._look(), self._seen
        self._seen = now
        settled = [
            name
            for name in sorted(now.keys() | self._acted.keys())
            if now.get(name) != self._acted.get(name) and now.get(name) == before.get(name)
        ]
        for name in settled:
            self._acted.pop(name, None)
            if name in now:
                self._acted[name] = now[name]
        return settled

    def _look(self) -> dict[str, Signature]:
        return {name: signature(self._repository / name) for name in model_names(self._repository)}
