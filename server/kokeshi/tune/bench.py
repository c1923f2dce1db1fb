"""The bench: builds the candidates for one graph, and measures them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from kokeshi.card import Candidate, Fidelity, Speed, Tuning
from kokeshi.contract import ImageInput, Output
from kokeshi.engines.config import GRAPH_FILE
from kokeshi.engines.repository import Entry, graph_digest
from kokeshi.engines.runtimes.machine import Machine
from kokeshi.errors import SetupError
from kokeshi.tune.choosing import Goal, choose
from kokeshi.tune.fidelity import BOUNDS, compare
from kokeshi.tune.graphs import VNNI_FLAGS, make
from kokeshi.tune.measuring import measure
from kokeshi.tune.pictures import Pictures, bundled, from_folder
from kokeshi.tune.ways import Form, Way, ways
from kokeshi.tune.worker import CandidateError, Worker

BATCH_SIZES: Final = (1, 8, 32)
SECONDS: Final = 2.0
Progress = Callable[[str, float], None]  # stage, and the fraction of it that is done
_DISTRIBUTIONS: Final = (
    "kokeshi", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How to tune.

    Args:
        cores: that the candidates may use.
        goal: what the fastest is the fastest in.
        batch_sizes: rows of one run; those over the model's own limit are left out.
        seconds: for each candidate at each batch size.
        bounds: of the fidelity, by measure.
        images: folder of pictures to measure fidelity on; None: photographs that packages carry.
        calibration: folder of pictures to calibrate int8 graphs on; None: likewise.
        cache_folder: for TensorRT engines; None: they are built anew.
        only: parts of names; a candidate whose name holds none of them is not measured.
    """

    cores: int
    goal: Goal = "throughput"
    batch_sizes: Sequence[int] = BATCH_SIZES
    seconds: float = SECONDS
    bounds: Mapping[str, float] = field(default_factory=lambda: dict(BOUNDS))
    images: Path | None = None
    calibration: Path | None = None
    cache_folder: Path | None = None
    only: Sequence[str] = ()


class Bench:
    """Measures every way to run one graph.

    Args:
        entry: the version.
        contract: of its input.
        outputs: of its card.
        options: how.
        machine: this one.
        folder: for the graphs that are made.
        on_progress: gets each stage and the fraction of it that is done.
    """

    def __init__(
        self,
        entry: Entry,
        contract: ImageInput,
        outputs: Sequence[Output],
        options: Options,
        machine: Machine,
        folder: Path,
        on_progress: Progress,
    ) -> None:
        self._entry = entry
        self._contract = contract
        self._outputs = outputs
        self._options = options
        self._machine = machine
        self._folder = folder
        self._on_progress = on_progress
        graph = entry.folder / str(entry.version) / GRAPH_FILE
        self._graphs = {Form.FP32: graph}
        self._digests: dict[Form, str] = {}  # of graphs that were made
        every = ways(machine, options.cores)
        self._baseline = every[0]
        self._ways = [way for way in every if way is every[0] or _wanted(way, options.only)]
        self._failed: dict[str, str] = {}  # reasons, by name

    def run(self) -> tuple[Tuning, Way]:
        """What was measured, and the way that was chosen.

        Raises:
            SetupError: there are no pictures, or the verified graph itself does not run.
        """
        pictures = _pictures(self._options.images, self._contract, for_calibration=False)
        calibration = self._make_graphs()
        with ExitStack() as stack:
            workers = self._open(stack)
            fidelity = self._compare(workers, pictures)
            speeds = self._time(workers, pictures)
            candidates = [self._candidate(way, workers, fidelity, speeds) for way in self._ways]
        best = choose(candidates, self._options.goal)
        chosen = next(way for way in self._ways if way.name == best.name)
        tuning = Tuning(
            hardware=self._machine.gpu if chosen.on_gpu else self._machine.cpu,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=_versions(),
            goal=self._options.goal,
            images=pictures.told,
            calibration=calibration,
            chosen=best.name,
            candidates=tuple(candidates),
            files={best.file: self._digests[chosen.form]} if self.made(chosen) else {},
        )
        return tuning, chosen

    def made(self, way: Way) -> Path | None:
        """The graph that was made for a way; None where that is the verified one."""
        return None if way.form is Form.FP32 else self._graphs[way.form]

    def graph_of(self, candidate: Candidate) -> Path:
        """The graph that a candidate ran."""
        return next(graph for graph in self._graphs.values() if graph.name == candidate.file)

    def _make_graphs(self) -> str:
        """Makes the graphs that the ways need; says what they were calibrated on."""
        forms = sorted({way.form for way in self._ways} - {Form.FP32})
        if not forms:
            return ""
        pictures = _pictures(self._options.calibration, self._contract, for_calibration=True)
        vnni = bool(VNNI_FLAGS & set(self._machine.flags))
        for done, form in enumerate(forms, start=1):
            target = self._folder / f"{form}.onnx"
            try:
                base = self._graphs[Form.FP32]
                make(form, base, target, pictures.rows, self._contract.name, vnni=vnni)
                digest = self._digests[form] = graph_digest(target)
                name = f"model.{form}-{digest[:8]}.onnx"
                self._graphs[form] = target.replace(target.with_name(name))
            except Exception as error:
                self._fail_all(form, str(error).partition("\n")[0] or type(error).__name__)
            self._on_progress("graphs", done / len(forms))
        return pictures.told

    def _fail_all(self, form: Form, reason: str) -> None:
        for way in self._ways:
            if way.form is form:
                self._failed[way.name] = reason

    def _open(self, stack: ExitStack) -> dict[str, Worker]:
        """A process for each way, one after the other so that they do not slow down one another."""
        workers: dict[str, Worker] = {}
        for done, way in enumerate(self._ways, start=1):
            if way.name in self._failed:
                continue
            graph = self._graphs[way.form]
            worker = Worker(
                graph,
                way.configured(self._entry.config, graph.name),
                threads=self._options.cores,
                callers=way.instances,
                cache_folder=self._options.cache_folder,
            )
            stack.callback(worker.close)
            try:
                worker.opened()
                workers[way.name] = worker
            except CandidateError as error:
                self._fail(way.name, str(error))
            self._on_progress("opening", done / len(self._ways))
        return workers

    def _fail(self, name: str, reason: str) -> None:
        if name == self._baseline.name:
            raise SetupError(f"the graph does not run on ONNX Runtime in fp32: {reason}")
        self._failed[name] = reason

    def _compare(
        self, workers: dict[str, Worker], pictures: Pictures
    ) -> dict[str, tuple[Fidelity, ...]]:
        """Fidelity by name; workers that fail are taken out."""
        reference: dict[str, NDArray[Any]] = {}
        found = {}
        for done, (name, worker) in enumerate(list(workers.items()), start=1):
            try:
                values = worker.outputs(pictures.rows)
                reference = reference or values
                found[name] = compare(self._outputs, reference, values, self._options.bounds)
            except CandidateError as error:
                workers.pop(name).kill()
                self._fail(name, str(error))
            self._on_progress("fidelity", done / max(1, len(workers)))
        return found

    def _time(
        self, workers: Mapping[str, Worker], pictures: Pictures
    ) -> dict[str, tuple[Speed, ...]]:
        most = max(1, self._entry.config.max_batch_size)
        sizes = sorted({min(size, most) for size in self._options.batch_sizes})
        return measure(
            workers,
            pictures.rows,
            sizes,
            self._options.seconds,
            self._fail,
            lambda fraction: self._on_progress("speed", fraction),
        )

    def _candidate(
        self,
        way: Way,
        workers: Mapping[str, Worker],
        fidelity: Mapping[str, tuple[Fidelity, ...]],
        speeds: Mapping[str, tuple[Speed, ...]],
    ) -> Candidate:
        failed = self._failed.get(way.name, "")
        return Candidate(
            name=way.name,
            runtime=way.runtime,
            precision=way.precision,
            file=self._graphs[way.form].name if way.form in self._graphs else "",
            instances=way.instances,
            threads=way.threads,
            speeds=speeds.get(way.name, ()),
            fidelity=fidelity.get(way.name, ()),
            peak_bytes=0 if failed else _peak_bytes(workers[way.name]),
            failed=failed,
        )


def _peak_bytes(worker: Worker) -> int:
    try:
        return worker.peak_bytes()
    except CandidateError:  # it ended; its figures stand
        return 0


def _wanted(way: Way, only: Sequence[str]) -> bool:
    return not only or any(part in way.name for part in only)


def _pictures(folder: Path | None, contract: ImageInput, *, for_calibration: bool) -> Pictures:
    if folder is not None:
        return from_folder(folder, contract)
    return bundled(contract, for_calibration=for_calibration)


def _versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
