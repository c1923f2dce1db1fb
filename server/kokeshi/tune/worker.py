"""A process for each way to run a graph: what one does to its memory, or a crash, ends with it."""

import multiprocessing
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.config import ModelConfig
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from kokeshi.engines.runtimes import Runtime

STATUS: Final = Path("/proc/self/status")
OPEN_TIMEOUT_S: Final = 3600.0  # a TensorRT engine may take its time
ANSWER_TIMEOUT_S: Final = 600.0
_BATCH: Final = 8  # rows of a run that is not timed
_JOIN_S: Final = 5.0


class CandidateError(SetupError):
    """A way to run the graph does not work here."""


@dataclass(frozen=True)
class Round:
    """What one candidate did in one round at one batch size."""

    rows: int
    seconds: float
    latencies_s: NDArray[np.float64]  # of each run


class Worker:
    """Runs one candidate in a process of its own; close it.

    Args:
        graph: the ONNX file.
        config: what to open it with.
        threads: cores that one run may use, where the configuration does not say.
        callers: threads that ask at once while it is timed.
        cache_folder: for engines.
    """

    def __init__(
        self,
        graph: Path,
        config: ModelConfig,
        *,
        threads: int,
        callers: int,
        cache_folder: Path | None = None,
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        given = (theirs, graph, config.model_dump_json(), threads, callers, cache_folder)
        self._process: SpawnProcess = spawn.Process(target=_serve, args=given, daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid or 0

    def opened(self, timeout_s: float = OPEN_TIMEOUT_S) -> None:
        """Waits until the graph can run.

        Raises:
            CandidateError: it cannot, or not as configured.
        """
        if degraded := self._answer(timeout_s):
            raise CandidateError(degraded)

    def outputs(self, rows: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Every output of rows (N, ...).

        Raises:
            CandidateError: it fails.
        """
        return self._ask(("outputs", rows))

    def measure(self, rows: NDArray[np.uint8], seconds: float) -> Round:
        """Runs the same rows over and over, at least once for each caller.

        Raises:
            CandidateError: it fails.
        """
        return self._ask(("measure", rows, seconds), ANSWER_TIMEOUT_S + seconds)

    def peak_bytes(self) -> int:
        """The most resident memory that the process had."""
        return self._ask(("peak",))

    def _ask(self, message: tuple[Any, ...], timeout_s: float = ANSWER_TIMEOUT_S) -> Any:  # noqa: ANN401 - as asked
        with suppress(BrokenPipeError):  # the answer says why
            self._connection.send(message)
        return self._answer(timeout_s)

    def _answer(self, timeout_s: float) -> Any:  # noqa: ANN401 - as asked
        try:
            if not self._connection.poll(timeout_s):
                raise CandidateError(f"no answer within {timeout_s:g} s")
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(_JOIN_S)
            raise CandidateError(_ended(self._process.exitcode)) from None
        if isinstance(answer, _Failure):
            raise CandidateError(answer.reason)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def kill(self) -> None:
        """Ends the process at once; it has to be closed all the same."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()  # which it takes as the sign to end
        self._process.join(_JOIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _ended(status: int | None) -> str:
    if status is not None and status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    return f"its process ended with status {status}"


@dataclass(frozen=True)
class _Failure:
    reason: str


def _serve(
    connection: Connection, graph: Path, config: str, threads: int, callers: int, cache: Path | None
) -> None:
    """The process: opens the graph, then answers until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    from kokeshi.engines.runtimes import open_runtime

    with suppress(EOFError, ConnectionError):
        try:
            read = ModelConfig.model_validate_json(config)
            runtime = open_runtime(graph, read, threads=threads, cache_folder=cache)
        except Exception as error:
            connection.send(_Failure(_first_line(error)))
            return
        connection.send(runtime.degraded)
        while True:
            message = connection.recv()
            try:
                connection.send(_do(runtime, callers, *message))
            except Exception as error:
                connection.send(_Failure(_first_line(error)))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _do(runtime: "Runtime", callers: int, what: str, *given: Any) -> Any:  # noqa: ANN401 - as asked
    match what:
        case "outputs":
            return _outputs(runtime, *given)
        case "measure":
            return _measure(runtime, callers, *given)
    return _peak_bytes()


def _peak_bytes() -> int:
    """From the kernel's page of this process; `getrusage` would tell the parent's of a new one."""
    try:
        said = STATUS.read_text("utf-8")
    except OSError:  # no Linux
        return 0
    (kilobytes,) = (line.split()[1] for line in said.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


def _outputs(runtime: "Runtime", rows: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    name = runtime.inputs[0].name
    parts = [runtime.run({name: rows[i : i + _BATCH]}) for i in range(0, len(rows), _BATCH)]
    return {output: np.concatenate([part[output] for part in parts]) for output in parts[0]}


def _measure(runtime: "Runtime", callers: int, rows: NDArray[np.uint8], seconds: float) -> Round:
    feed = {runtime.inputs[0].name: rows}
    latencies: list[list[float]] = [[] for _ in range(callers)]
    failures: list[Exception] = []
    begun_s = time.perf_counter()

    def call(mine: list[float]) -> None:
        try:
            while not mine or time.perf_counter() - begun_s < seconds:
                asked_s = time.perf_counter()
                runtime.run(feed)
                mine.append(time.perf_counter() - asked_s)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(mine,)) for mine in latencies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken_s = time.perf_counter() - begun_s
    if failures:
        raise failures[0]
    every = np.concatenate([np.array(mine) for mine in latencies])
    return Round(len(every) * len(rows), taken_s, every)
