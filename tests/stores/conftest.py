"""The whole service over every kind of store that collections may be kept in, on real digits."""

import asyncio
import contextlib
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "index"))  # how the stores' servers start
pytest.register_assert_rewrite("contract", "contract_stores")

from contract_stores import embedded, milvus  # noqa: E402
from qdrant_stand_in import skip_without_qdrant  # noqa: E402
from qdrant_stores import behind_grpc, local  # noqa: E402

from kokeshi.engines.embedded import EmbeddedEngine  # noqa: E402
from kokeshi.images import ImagePool  # noqa: E402
from kokeshi.index import CollectionSpec, Store  # noqa: E402
from kokeshi.index.batching import WALKED, Batched  # noqa: E402
from kokeshi.index.notes import Notes  # noqa: E402
from kokeshi.index.recall import Effort, Measured, Sampling  # noqa: E402
from kokeshi.registry import discover  # noqa: E402
from kokeshi.service import Service  # noqa: E402
from kokeshi.service.inputs import Image, Tensor  # noqa: E402
from kokeshi.service.retrieval.records import RetrievalLimits  # noqa: E402
from kokeshi.service.types import Limits, NewItem  # noqa: E402
from kokeshi_plugins.digits.data import picture, scans  # noqa: E402

MODELS = Path(__file__).parents[2] / "model_repository"
NAMES = ("digits", "digits_mrl")
STORED = 300  # of the 450 scans that no model saw
ASKED = 40  # of the others
STORES = {"embedded": embedded, "milvus": milvus, "qdrant-local": local, "qdrant": behind_grpc}
SPACE = "0123456789abcdef"
WAIT_S = 120.0


def png(ink) -> bytes:
    buffer = io.BytesIO()
    picture(ink).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class Digits:
    """Scans with what each model makes of them; a place is made up for each, by what it shows.

    Attributes:
        vectors: by model, (n, 64) float32.
        spaces: fingerprints by model.
    """

    ids: list[str]
    pictures: list[Image]
    labels: list[str]
    vectors: dict[str, np.ndarray]
    spaces: dict[str, str]

    def __len__(self):
        return len(self.ids)

    def rows(self, start, stop):
        some = slice(start, stop)
        vectors = {model: rows[some] for model, rows in self.vectors.items()}
        return Digits(self.ids[some], self.pictures[some], self.labels[some], vectors, self.spaces)

    @property
    def metadata(self):
        numbers = map(int, self.labels)
        return [
            {"label": str(one), "latitude": 5.0 * one, "longitude": 10.0 * one} for one in numbers
        ]


@dataclass
class Kept:
    """A service whose collections a store of some kind keeps."""

    kind: str
    service: Service
    store: Store
    runner: asyncio.Runner
    made: dict[str, object] = field(default_factory=dict)  # once for all tests

    @property
    def capabilities(self):
        return self.store.capabilities

    def run(self, call):
        """What a call of the service returns."""
        return self.runner.run(call)

    def embed(self, name, model, digits):
        """Makes a collection of a model, if it is not there, and puts its vectors into it."""
        if name not in {info.name for info in self.run(self.service.list_collections())}:
            self.run(self.service.create_collection(name, model))
        rows = zip(digits.ids, digits.vectors[model], digits.metadata, strict=True)
        items = [NewItem(key, Tensor(vector), told) for key, vector, told in rows]
        self._add(name, items, digits.spaces[model])

    def fill(self, name, vectors, metadata=None, tenant="", **spec):
        """Makes a collection of no model, and puts vectors (n, dim) into it as i0, i1, ..."""
        if name not in {info.spec.name for info in self.store.collections()}:
            self.store.create(CollectionSpec(name, SPACE, vectors.shape[1], **spec))
        told = metadata or [{}] * len(vectors)
        items = [
            NewItem(f"i{row}", Tensor(vector), told[row]) for row, vector in enumerate(vectors)
        ]
        self._add(name, items, SPACE, tenant)

    def _add(self, name, items, space, tenant=""):
        for start in range(0, len(items), 200):
            some = items[start : start + 200]
            self.run(self.service.add_items(name, some, space=space, tenant=tenant))

    def search(self, name, *vectors, **how):
        """The answer to queries that are vectors."""
        queries = [Tensor(np.asarray(vector, np.float32)) for vector in vectors]
        return self.run(self.service.search(name, queries, space=SPACE, **how))

    def transferred(self, target):
        """A transfer when it does not run any more."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            told = self.run(self.service.retrieval.describe_transfer(target))
            if told.state != "running":
                return told
            self.run(asyncio.sleep(0.02))
        raise AssertionError(f"the transfer never ended: {told}")


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> Path:
    """The two shipped models that embed."""
    folder = tmp_path_factory.mktemp("models")
    for name in NAMES:
        (folder / name).symlink_to(MODELS / name)
    return folder


def service_on(repository, store, notes) -> Service:
    return Service(
        EmbeddedEngine(repository, threads=1),
        ImagePool(2),
        store,
        Limits(),
        notes=notes,
        dials=store,
        registry=discover(),
        retrieval_limits=RetrievalLimits(max_references=100, max_pairs=10_000),
    )


@pytest.fixture(scope="session", params=STORES)
def kept(request, repository, tmp_path_factory) -> Iterator[Kept]:
    """A service over a store of each kind, in turn, made as `kokeshi serve` makes it."""
    if request.param.startswith("qdrant"):
        skip_without_qdrant()
    directory = tmp_path_factory.mktemp("stores")
    walked = WALKED if request.param == "embedded" else frozenset()
    with STORES[request.param](directory / "kept") as bare, asyncio.Runner() as runner:
        store = Measured(
            Batched(bare, walked=walked),
            sampling=Sampling(share=0.0, least_every_s=1e9),  # idle work would take from the tests
            effort=Effort(queries=0),
        )
        service = service_on(repository, store, Notes(directory / "notes"))
        runner.run(service.start())
        yield Kept(request.param, service, store, runner)
        runner.run(service.close())


@pytest.fixture
def serving(repository, tmp_path):
    """Opens another service over a store, and closes it and the store."""

    @contextlib.contextmanager
    def serve(kept, store):
        service = service_on(repository, store, Notes(tmp_path / "notes"))
        kept.run(service.start())
        try:
            yield replace(kept, service=service, store=store, made={})
        finally:
            kept.run(service.close())

    return serve


@pytest.fixture(scope="session")
def scanned(repository, tmp_path_factory) -> Digits:
    """All scans that are stored or asked about."""
    held_out = scans("held_out")
    order = np.random.default_rng(0).permutation(len(held_out.labels))[: STORED + ASKED]
    pictures = [Image(png(held_out.ink[row])) for row in order]
    with (
        asyncio.Runner() as runner,
        embedded(tmp_path_factory.mktemp("none") / "kept") as store,
    ):
        service = Service(EmbeddedEngine(repository, threads=1), ImagePool(2), store, Limits())
        runner.run(service.start())
        parts = {
            model: [
                runner.run(service.embed(model, pictures[start : start + 64]))
                for start in range(0, len(pictures), 64)
            ]
            for model in NAMES
        }
        runner.run(service.close())
    vectors = {
        model: np.stack([each.values for part in told for each in part.vectors])
        for model, told in parts.items()
    }
    spaces = {model: told[0].space for model, told in parts.items()}
    labels = [str(held_out.labels[row]) for row in order]
    return Digits([f"d{row}" for row in order], pictures, labels, vectors, spaces)


@pytest.fixture(scope="session")
def stored(scanned) -> Digits:
    """What the collections hold."""
    return scanned.rows(0, STORED)


@pytest.fixture(scope="session")
def asked(scanned) -> Digits:
    """What is asked about."""
    return scanned.rows(STORED, None)


@pytest.fixture
def digits(kept, stored):
    """The name of a collection of `digits_mrl` that holds `stored`."""
    if "digits" not in kept.made:
        kept.embed("digits", "digits_mrl", stored)
        kept.made["digits"] = True
    return "digits"
