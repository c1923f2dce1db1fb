"""A load generator for pictures over HTTP/1.1: closed loop, or open loop with Poisson arrivals.

In the open loop a latency counts from the moment at which its request was due, so that a server
that holds up the generator does not shorten its own queue (Tene's "coordinated omission"). Every
answer is checked. Connections are plain asyncio streams: the generator shares its cores with the
server, and a client library would take more of them than a server does.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

OK = 200
REFUSED = (429, 503)


@dataclass(frozen=True)
class Ask:
    """A request as it goes over the wire, and whether a body is its right answer."""

    wire: bytes
    right: Callable[[bytes], bool]


@dataclass
class Outcome:
    """What became of the requests of one run."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)  # of right answers
    wrong: int = 0
    refused: int = 0
    failed: int = 0
    first_failure: str = ""

    @property
    def rate(self) -> float:
        """Right answers per second."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """Latency that this share of the answers kept."""
        if len(self.latencies_s) < 2:
            return float("nan")
        return 1000 * statistics.quantiles(self.latencies_s, n=100, method="inclusive")[percent - 1]

    def told(self) -> str:
        """One line."""
        return (
            f"{self.rate:8.1f}/s  p50 {self.percentile_ms(50):7.1f} ms  "
            f"p99 {self.percentile_ms(99):7.1f} ms  right {len(self.latencies_s)}  "
            f"wrong {self.wrong}  refused {self.refused}  failed {self.failed} {self.first_failure}"
        )


def post(host: str, path: str, body: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
    """The bytes of a POST request that keeps its connection."""
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Connections:
    """Idle connections to one address, and new ones where none is idle."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, wire: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self._host, int(self._port))
        writer.write(wire)
        status, body, keeps = await _answer(reader)
        if keeps:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return status, body

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split()[1]), body, headers.get("connection") != "close"


async def _one(connections: _Connections, ask: Ask, due_s: float, outcome: Outcome) -> None:
    try:
        status, body = await connections.ask(ask.wire)
    except (OSError, asyncio.IncompleteReadError) as error:
        outcome.failed += 1
        outcome.first_failure = outcome.first_failure or repr(error)
        return
    taken_s = time.perf_counter() - due_s
    if status in REFUSED:
        outcome.refused += 1
    elif status != OK:
        outcome.failed += 1
        outcome.first_failure = outcome.first_failure or f"{status} {body[:200]!r}"
    elif ask.right(body):
        outcome.latencies_s.append(taken_s)
    else:
        outcome.wrong += 1


async def closed(address: str, asks: Sequence[Ask], clients: int, seconds: float) -> Outcome:
    """Every client asks as soon as it was answered."""
    connections, outcome = _Connections(address), Outcome()
    started_s = time.perf_counter()

    async def client(number: int) -> None:
        place = number
        while time.perf_counter() - started_s < seconds:
            await _one(connections, asks[place % len(asks)], time.perf_counter(), outcome)
            place += clients

    await asyncio.gather(*(client(number) for number in range(clients)))
    outcome.seconds = time.perf_counter() - started_s
    connections.close()
    return outcome


async def opened(
    address: str, asks: Sequence[Ask], rate: float, seconds: float, seed: int = 0
) -> Outcome:
    """Requests arrive at random, `rate` a second on average, whether or not others are answered."""
    connections, outcome, chance = _Connections(address), Outcome(), random.Random(seed)
    tasks: list[asyncio.Task[None]] = []
    started_s = due_s = time.perf_counter()
    while (due_s := due_s + chance.expovariate(rate)) - started_s < seconds:
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        ask = asks[len(tasks) % len(asks)]
        tasks.append(asyncio.create_task(_one(connections, ask, due_s, outcome)))
    await asyncio.gather(*tasks)
    outcome.seconds = max(seconds, time.perf_counter() - started_s)
    connections.close()
    return outcome


def run(main: Awaitable[Outcome]) -> Outcome:
    """Runs one load to its end."""

    async def whole() -> Outcome:
        return await main

    return asyncio.run(whole())
