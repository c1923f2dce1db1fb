"""Keeps a local Triton and its models going: what falls is red at once, and is started again."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from kokeshi.engines.triton.backoff import Backoff
from kokeshi.engines.triton.calls import Calls
from kokeshi.engines.triton.launch import LOADING_THREADS, Launch
from kokeshi.engines.triton.running import Running, Timeouts, begin
from kokeshi.engines.triton.stub import Fall, Limits
from kokeshi.errors import SetupError, UnavailableError

logger = logging.getLogger(__name__)

UNLOAD_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class Fallen:
    """A model that does not answer, because what ran it fell."""

    reason: str
    restarting: bool = False

    @property
    def told(self) -> str:
        """One line for people."""
        return f"{self.reason}; it is being restarted" if self.restarting else self.reason


@dataclass(frozen=True)
class Source:
    """What a model is loaded from: its folder, or what a caller gave in its place."""

    config: str = ""  # JSON
    files: Mapping[str, bytes] = field(default_factory=dict)


class Supervisor:
    """See the module. Every method blocks but `fallen`; call them on a thread.

    Args:
        launch: how the server is started.
        limits: of the model processes.
        timeouts: of the steps of starting.
        changed: is called, on some thread, when `fallen` has changed.
        restarted: is told, on some thread, of every restart: the model and the kind of fall.
    """

    def __init__(
        self,
        launch: Launch,
        limits: Limits,
        timeouts: Timeouts,
        changed: Callable[[], None],
        restarted: Callable[[str, str], None],
    ) -> None:
        self._launch = launch
        self._limits = limits
        self._timeouts = timeouts
        self._changed = changed
        self._restarted = restarted
        self._lock = threading.Lock()
        self._fallen: Mapping[str, Fallen] = {}
        self._falls: dict[str, int] = defaultdict(int)
        self._sources: dict[str, Source] = {}  # of models that were asked for
        self._backoffs: dict[str, Backoff] = defaultdict(Backoff)
        self._server_backoff = Backoff()
        self._running: Running | None = None
        self._closing = threading.Event()
        self._menders: set[threading.Thread] = set()

    def fallen(self) -> Mapping[str, Fallen]:
        """What does not answer now; a snapshot."""
        return self._fallen

    def start(self, models: Iterable[str] | None) -> None:
        """Starts the server and loads models; one that fails does not keep the others.

        Args:
            models: names; None: every folder.

        Raises:
            SetupError: the server does not start.
        """
        running = self._begin()
        self._running = running
        self._load_all(running.calls.models() if models is None else models)
        self._server_backoff.up()

    def close(self) -> None:
        """Ends everything; nothing is left of it."""
        self._closing.set()
        if self._running is not None:
            self._running.process.kill()  # ends the calls that menders wait for
        for mender in list(self._menders):
            mender.join()
        running, self._running = self._running, None
        if running is not None:
            running.end()

    def load(self, model: str, source: Source) -> None:
        """Loads a model, now and after every restart.

        Raises:
            UnavailableError: it cannot be loaded.
        """
        before = self.expect(model, source)
        try:
            self._calls().load(model, source.config, source.files, self._timeouts.load_s)
        except UnavailableError:
            self.expect(model, before)
            raise
        self.stands(model)

    def expect(self, model: str, source: Source | None) -> Source | None:
        """A model is about to be loaded, or (None) unloaded, by whomever.

        From now on its falls count, or do not; after a restart it is loaded so, or not at all.

        Returns:
            What was expected before; to be expected again where the load fails.
        """
        with self._lock:
            before = self._sources.pop(model, None)
            if source is not None:
                self._sources[model] = source
        if source is None:
            self.stands(model)
        return before

    def retire(self, model: str) -> None:
        """A model was unloaded, by whomever: the processes that ran it have to end."""
        running = self._running
        if running is not None and running.overseer is not None:
            running.overseer.retire(model)

    def stands(self, model: str) -> None:
        """A model was loaded anew, so it is not fallen."""
        with self._lock:
            if model not in self._fallen:
                return
            self._fallen = {name: one for name, one in self._fallen.items() if name != model}
        self._changed()

    def _calls(self) -> Calls:
        running = self._running
        if running is None:
            raise UnavailableError("the tritonserver is being restarted")
        return running.calls

    def _begin(self) -> Running:
        running = begin(self._launch, self._timeouts.start_s, self._closing)
        running.oversee(self._limits, self._on_fall, self._on_server_fall)
        return running

    def _load_all(self, models: Iterable[str]) -> None:
        with ThreadPoolExecutor(LOADING_THREADS, thread_name_prefix="triton-load") as pool:
            list(pool.map(self._load_one, models))

    def _load_one(self, model: str) -> None:
        source = self._sources.get(model, Source())
        try:
            self.load(model, source)
        except UnavailableError as error:
            logger.error("model %s is not served: %s", model, error)

    def _on_fall(self, model: str, fall: Fall) -> None:
        with self._lock:
            self._falls[model] += 1
            unknown = model not in self._sources
            if unknown or model in self._fallen or self._closing.is_set():
                return
            self._fallen = {**self._fallen, model: Fallen(fall.reason)}
        logger.error("model %s fell: %s", model, fall.reason)
        self._changed()
        self._mend(self._mend_model, model, fall)

    def _on_server_fall(self, fall: Fall) -> None:
        with self._lock:
            if self._closing.is_set():
                return
            self._fallen = dict.fromkeys(self._sources, Fallen(fall.reason))
        logger.error("%s", fall.reason)
        self._changed()
        self._mend(self._mend_server, fall)

    def _mend(self, how: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            try:
                how(*arguments)
            except Exception:
                logger.exception("a restart failed")
            finally:
                self._menders.discard(threading.current_thread())

        thread = threading.Thread(target=run, name="triton-mend", daemon=True)
        self._menders.add(thread)
        thread.start()

    def _mend_model(self, model: str, fall: Fall) -> None:
        running = self._running
        why = fall.reason
        while not self._closing.wait(self._backoffs[model].delay_s()):
            if running is None or running is not self._running or model not in self._fallen:
                return  # the server fell, or somebody loaded or unloaded it meanwhile
            self._set(model, Fallen(why, restarting=True))
            self._restarted(model, fall.kind)
            try:
                steady = self._reload(running.calls, model)
            except UnavailableError as error:
                why = f"{fall.reason}; it could not be restarted: {error}"
                self._set(model, Fallen(why))
                continue
            if steady:
                self._backoffs[model].up()
                self.stands(model)
                logger.warning("model %s was restarted", model)
                return

    def _reload(self, calls: Calls, model: str) -> bool:
        """Says whether no process fell again meanwhile."""
        source = self._sources.get(model, Source())
        calls.unload(model, UNLOAD_TIMEOUT_S)
        self.retire(model)
        falls = self._falls[model]
        calls.load(model, source.config, source.files, self._timeouts.load_s)
        return self._falls[model] == falls

    def _mend_server(self, fall: Fall) -> None:
        broken, self._running = self._running, None
        if broken is not None:
            broken.end()
        while not self._closing.wait(self._server_backoff.delay_s()):
            with self._lock:
                self._fallen = dict.fromkeys(self._fallen, Fallen(fall.reason, restarting=True))
            self._changed()
            for model in self._fallen:
                self._restarted(model, fall.kind)
            try:
                running = self._begin()
            except (SetupError, OSError, UnavailableError) as error:
                logger.error("the tritonserver could not be restarted: %s", error)
                continue
            self._running = running
            if self._closing.is_set():
                return
            self._server_backoff.up()
            self._load_all(list(self._sources))
            self._after_server_restart(fall)
            return

    def _after_server_restart(self, fall: Fall) -> None:
        logger.warning("the tritonserver was restarted")
        for model in list(self._fallen):  # what could not be loaded at the first try
            self._mend(self._mend_model, model, fall)

    def _set(self, model: str, fallen: Fallen) -> None:
        with self._lock:
            if model not in self._fallen:
                return
            self._fallen = {**self._fallen, model: fallen}
        self._changed()
