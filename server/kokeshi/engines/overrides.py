"""Files that came with a request to load a model, in place of those of the repository."""

import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from kokeshi.engines.folders import inside
from kokeshi.errors import ArtefactError, InvalidRequestError


class Override:
    """A model's folder made of the files of a request; it goes with the last who holds it.

    Whoever made it holds it.

    Args:
        name: of the model.
        files: contents by path under the model's folder.

    Raises:
        InvalidRequestError: a path leads out of the folder.
    """

    def __init__(self, name: str, files: Mapping[str, bytes]) -> None:
        self._lock = threading.Lock()
        self._holders = 1
        self._parent = tempfile.mkdtemp(prefix="kokeshi-")
        self.folder = Path(self._parent, name)
        self.folder.mkdir()
        try:
            for path, content in files.items():
                target = inside(self.folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        except (ArtefactError, OSError) as error:
            self.release()
            raise InvalidRequestError(f"a file of model {name!r} cannot have its name") from error

    def hold(self) -> None:
        """Keeps the folder until `release` is called once more."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Removes the folder if nobody else holds it."""
        with self._lock:
            self._holders -= 1
            last = not self._holders
        if last:
            shutil.rmtree(self._parent, ignore_errors=True)
