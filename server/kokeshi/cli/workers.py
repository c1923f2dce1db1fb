"""Several gateway processes on the same ports, and one process with models and collections."""

import logging
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kokeshi.cli.worker import Orders
from kokeshi.cli.worker_metrics import ENGINE, Totals
from kokeshi.engines.process.backoff import Backoff
from kokeshi.engines.vitals import STOPPED, vitals
from kokeshi.errors import SetupError
from kokeshi.local_calls import receive, send
from kokeshi.settings import Settings

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # between two looks at children: one that was stopped is ended
KILL_AFTER_S: Final = 5.0  # beyond the time to drain, for a child that does not end
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; a second signal ends everything at once.

    Raises:
        SetupError: the repository, the data folder or an address cannot be used.
    """
    with ExitStack() as stack:
        addresses = {name: stack.enter_context(_Port(settings, name)) for name in ("http", "grpc")}
        folder = Path(tempfile.mkdtemp(prefix="kokeshi-"))  # only this user may enter it
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        fixed = {name: port.address for name, port in addresses.items()}
        Supervisor(settings, folder, fixed).run()


class _Port:
    """An address whose port nobody else gets, though this process does not listen on it.

    Raises:
        SetupError: it cannot be listened on.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        given: str = getattr(settings, name)
        host, _, port = given.rpartition(":")
        place = host.strip("[]"), int(port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            # Another server that shares its ports would share this one's too; it is found here.
            with socket.create_server(place, family=family):
                pass
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.bind(place)
        except OSError as error:
            self._socket.close()
            raise SetupError(
                f"cannot listen on {name} address {given}: {error.strerror}"
            ) from error
        self.address = f"{host}:{self._socket.getsockname()[1]}"

    def __enter__(self) -> "_Port":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class Child:
    """One process, over all its lives.

    Args:
        process: its name; see `Orders`.
        events: gets (child, message), and (child, None) when it is gone.
    """

    def __init__(self, process: str, events: "queue.SimpleQueue[Any]") -> None:
        self.process = process
        self.due_s: float | None = 0.0  # when it is to be started; None: it lives
        self.is_open = False
        self.has_served = False  # in any of its lives
        self._events = events
        self._backoff = Backoff()
        self._popen: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def start(self, orders: Orders) -> None:
        """Starts it."""
        mine, its = socket.socketpair()
        command = [sys.executable, "-m", "kokeshi.cli.worker", str(its.fileno())]
        with its:
            # A session of its own: an interrupt from the terminal is for the parent.
            self._popen = subprocess.Popen(
                command, pass_fds=[its.fileno()], start_new_session=True, stdin=subprocess.DEVNULL
            )
        self._connection, self.due_s = mine, None
        self.tell(orders)
        threading.Thread(target=self._listen, args=(mine,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        try:
            while True:
                self._events.put((self, receive(connection)))
        except (EOFError, OSError):
            self._events.put((self, None))

    def opened(self) -> None:
        """It serves."""
        self.is_open = self.has_served = True
        self._backoff.up()
        assert self._popen is not None
        fields = {"process": self.process, "pid": self._popen.pid}
        logger.info("a process serves", extra={"fields": fields})

    def tell(self, message: object) -> None:
        """Sends a message, if it is there."""
        if self._connection is not None:
            with suppress(OSError):
                send(self._connection, message)

    def kill(self) -> None:
        """Ends it at once."""
        if self._popen is not None:
            self._popen.kill()

    def is_stopped(self) -> bool:
        """Whether a signal stopped it: it would hold its connections and answer none."""
        now = None if self._popen is None else vitals(self._popen.pid)
        return now is not None and now.state == STOPPED

    @property
    def is_there(self) -> bool:
        """Whether it was started, and its end was not seen yet."""
        return self._popen is not None

    def bury(self) -> str:
        """Waits for the end of one that hung up; returns how it ended."""
        assert self._popen is not None
        assert self._connection is not None
        try:
            code = self._popen.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            code = self._popen.wait()
        self._connection.close()
        self._popen = self._connection = None
        self.is_open = False
        return f"died of signal {-code}" if code < 0 else f"ended with status {code}"

    def put_off(self) -> float:
        """Has it started again after a while, which is returned."""
        delay_s = self._backoff.delay_s()
        self.due_s = time.monotonic() + delay_s
        return delay_s


class Supervisor:
    """Starts the processes, watches over them and ends them.

    Args:
        settings: of the server.
        folder: for the sockets between processes.
        addresses: of the doors, with their ports.
    """

    def __init__(self, settings: Settings, folder: Path, addresses: dict[str, str]) -> None:
        self._settings = settings
        self._addresses = addresses
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._engine = Child(ENGINE, self._events)
        numbers = range(settings.workers)
        self._gateways = [Child(str(number), self._events) for number in numbers]
        self._children = [self._engine, *self._gateways]
        values = {name: getattr(settings, name) for name in type(settings).model_fields}
        self._orders = Orders(ENGINE, {**values, **addresses}, folder)
        self._totals = Totals()
        self._stopping = False
        self._told = False

    def run(self) -> None:
        """Returns when all has ended after a signal.

        Raises:
            SetupError: a process could not start for the first time.
        """
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            while not self._stopping:
                self._step()
            self._end(self._gateways)
            self._end([self._engine])
        finally:
            for child in self._children:
                if child.is_there:
                    child.kill()
                    child.bury()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        for each in SIGNALS:
            signal.signal(each, self._on_second_signal)
        self._stopping = True
        self._events.put(None)

    def _on_second_signal(self, number: int, _: object) -> None:
        for child in self._children:
            child.kill()
        shutil.rmtree(self._orders.folder, ignore_errors=True)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _step(self) -> None:
        self._start_due()
        self._handle_next(LOOK_S)
        for child in self._children:
            if child.is_stopped():
                logger.error("process %s was stopped; it is ended", child.process)
                child.kill()

    def _start_due(self) -> None:
        for child in self._children:
            is_due = child.due_s is not None and child.due_s <= time.monotonic()
            if is_due and (child is self._engine or self._orders.engine):
                child.start(replace(self._orders, process=child.process))

    def _handle_next(self, timeout_s: float) -> None:
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return
        if event is not None:  # that is a signal
            self._handle(*event)

    def _handle(self, child: Child, message: Any) -> None:  # noqa: ANN401 - of several kinds
        match message:
            case None:
                self._mourn(child)
            case ("open", name):
                self._opened(child, name)
            case ("failed", reason):
                self._failed(child, reason)
            case ("page", page):
                self._totals.put(child.process, page)
            case ("gather",):
                child.tell(("gathered", self._totals.without(child.process)))
            case ("loaded", model, load):
                loads = {**self._orders.loads, model: load}
                self._orders = replace(self._orders, loads=loads)

    def _opened(self, child: Child, name: str) -> None:
        child.opened()
        if child is self._engine:
            self._orders = replace(self._orders, engine=name)
        if not self._told and all(gateway.is_open for gateway in self._gateways):
            self._told = True
            told = f"http://{self._addresses['http']}  grpc://{self._addresses['grpc']}"
            sys.stdout.write(f"listening on {told}\n")
            sys.stdout.flush()

    def _failed(self, child: Child, reason: str) -> None:
        if not (self._told or self._stopping):
            raise SetupError(reason)
        logger.error("process %s cannot start: %s", child.process, reason)

    def _mourn(self, child: Child) -> None:
        how = child.bury()
        self._totals.end(child.process)
        if self._stopping:
            return
        if not (self._told or child.has_served):
            raise SetupError(f"process {child.process} {how} before it served")
        delay_s = child.put_off()
        logger.error("process %s %s; it is started again in %g s", child.process, how, delay_s)

    def _end(self, children: list[Child]) -> None:
        """Has children finish and end; those that do not are killed after a while."""
        for child in children:
            child.tell(("end",))
        end_s = time.monotonic() + self._settings.drain_timeout_s + KILL_AFTER_S
        while any(child.is_there for child in children):
            self._handle_next(LOOK_S)
            if time.monotonic() > end_s:
                for child in children:
                    child.kill()
