"""Retrievers and diagnostics over every kind of store: as the plugins answer to NumPy's arrays."""

from dataclasses import replace
from hashlib import sha256

import httpx
import numpy as np
import pytest

from kokeshi.errors import HTTP_STATUS, SpaceMismatchError
from kokeshi.gateway.http import make_app
from kokeshi.gateway.readiness import Readiness
from kokeshi.plugin import Neighbours, Sample, settle
from kokeshi.registry import discover
from kokeshi.service.inputs import Tensor
from kokeshi.service.retrieval.records import (
    DiagnoseOptions,
    FitOptions,
    Judgement,
    Question,
    Reference,
)

MODEL = "digits_mrl"
TRAINED = (8, 16, 32, 64)
SETTINGS = {"verification": {"draws": 5}}
REGISTRY = discover()


@pytest.fixture(scope="session")
def sample(stored):
    """The collection `digits` as a plugin sees it."""
    return Sample(
        vectors=stored.vectors[MODEL],
        ids=tuple(stored.ids),
        labels=tuple(stored.labels),
        metadata=tuple(stored.metadata),
        dimensions=TRAINED,
        space=stored.spaces[MODEL],
    )


@pytest.fixture(scope="session")
def models(sample):
    """What each retriever is fitted to, by name."""
    names = ("verification", "open_set", "hopfield", "prototypes")
    plugins = [REGISTRY.retrievers[name] for name in names]
    return {
        each.name: each.fit(sample, settle(each, SETTINGS.get(each.name, {}))) for each in plugins
    }


@pytest.fixture
def fitted(kept, digits, models):
    """The same, fitted by the service."""
    if "fitted" not in kept.made:
        kept.made["fitted"] = {
            name: kept.run(
                kept.service.retrieval.fit(
                    digits, name, FitOptions(labels="label", settings=SETTINGS.get(name, {}))
                )
            )
            for name in models
        }
    return kept.made["fitted"]


def cut(vectors, dimension):
    rows = vectors[:, :dimension].astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def neighbours_of(stored, vector, k, dimension=64):
    """The nearest items, by NumPy."""
    rows, query = cut(stored.vectors[MODEL], dimension), cut(vector[None], dimension)[0]
    scores = rows.astype(float) @ query.astype(float)
    order = np.argsort(-scores, kind="stable")[:k]
    return Neighbours(
        ids=tuple(stored.ids[row] for row in order),
        scores=scores[order].astype(np.float32),
        metadata=tuple(stored.metadata[row] for row in order),
        vectors=rows[order],
        query=query,
        dimension=dimension,
        count=len(stored),
    )


def expected(name, neighbours, model=None):
    plugin = REGISTRY.retrievers[name]
    return plugin.answer(neighbours, settle(plugin, {}), model)


def question(asked, row, **how):
    return Question(Tensor(asked.vectors[MODEL][row]), space=asked.spaces[MODEL], **how)


def alike(told, wanted):
    """Whether the fields of an answer are those of a plugin's, to float32's last digits."""
    for name, value in wanted.items():
        found = told[name] if isinstance(told, dict) else getattr(told, name)
        if hasattr(found, "model_dump"):
            found = found.model_dump()
        if name == "place" and value is not None and isinstance(found, dict):
            found = list(found.values())
        if isinstance(value, dict):
            alike(found, value)
        elif isinstance(value, float) or (isinstance(value, list) and name != "voters"):
            assert found == pytest.approx(value, rel=1e-4, abs=1e-5), name
        else:
            assert found == value, name


def test_a_fit_on_a_store_is_the_fit_on_its_arrays_to_the_bit(kept, fitted, models):
    for name, told in fitted.items():
        digest = sha256(models[name].model_dump_json().encode()).hexdigest()
        assert (told.count, told.of, told.digest) == (300, 300, digest), name
    listed = kept.run(kept.service.retrieval.fitted("digits"))
    assert {each.name for each in listed} == set(fitted)


@pytest.mark.parametrize(
    ("name", "dimension"),
    [
        ("neighbour_vote", 8),
        ("neighbour_vote", 64),
        ("prototypes", 64),
        ("hopfield", 8),
        ("hopfield", 64),
        ("im2gps", 64),
        ("open_set", 64),
    ],
)
def test_a_retriever_answers_as_to_the_neighbours_of_numpy(
    kept, fitted, models, stored, asked, name, dimension
):
    for row in range(2):
        neighbours = neighbours_of(stored, asked.vectors[MODEL][row], 20, dimension)
        wanted = expected(name, neighbours, models.get(name))
        query = question(asked, row, retriever=name, k=20, dimension=dimension)
        told = kept.run(kept.service.retrieval.ask("digits", query))
        assert list(told.neighbours) == list(neighbours.ids)
        alike(told.answer, wanted)


def test_what_is_like_nothing_stored_is_not_recognised_and_has_a_high_energy(kept, fitted, asked):
    retrieval = kept.service.retrieval
    strange = Tensor(np.random.default_rng(0).standard_normal(64).astype(np.float32))
    other = Question(strange, space=asked.spaces[MODEL], k=10)
    assert not kept.run(retrieval.recognise("digits", other)).is_known
    energies = [
        kept.run(retrieval.associate("digits", question(asked, row, k=10))).energy
        for row in range(5)
    ]
    assert kept.run(retrieval.associate("digits", other)).energy > max(energies)


def test_pictures_are_classified_and_placed(kept, digits, asked):
    retrieval = kept.service.retrieval
    right = 0
    for row, label in enumerate(asked.labels[:10]):
        voted = kept.run(retrieval.vote(digits, question(asked, row, k=20)))
        right += voted.label == label
        located = kept.run(retrieval.locate(digits, question(asked, row)))
        if voted.label == label and located.place:
            assert located.place.latitude == pytest.approx(5 * int(label), abs=1)
            assert located.place.longitude == pytest.approx(10 * int(label), abs=1)
    assert right >= 8


@pytest.mark.parametrize("dimension", [16, 64])
def test_a_query_is_verified_against_a_subject_and_an_item(kept, fitted, stored, asked, dimension):
    verdicts = {True: [], False: []}
    for row, label in enumerate(asked.labels[:4]):
        for subject in {label, "3"}:
            query = question(asked, row, dimension=dimension)
            told = kept.run(
                kept.service.retrieval.verify("digits", query, Reference("", "label", subject))
            )
            verdicts[subject == label].append(told.verdict)
            assert told.of == stored.labels.count(subject)
            assert told.false_match_rate.low <= told.false_match_rate.value
            assert told.false_match_rate.value <= told.false_match_rate.high
    assert "same" not in verdicts[False]
    assert verdicts[True].count("same") >= 0.5 * len(verdicts[True])
    twin = stored.labels.index(asked.labels[0])
    query = question(asked, 0, dimension=dimension)
    told = kept.run(kept.service.retrieval.verify("digits", query, Reference(stored.ids[twin])))
    vectors = cut(np.stack([asked.vectors[MODEL][0], stored.vectors[MODEL][twin]]), dimension)
    assert told.score == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)


def test_judged_pairs_calibrate_too(kept, digits, stored):
    rng = np.random.default_rng(1)
    pairs = rng.integers(len(stored), size=(600, 2))
    labels = np.array(stored.labels)
    pairs = np.concatenate([pairs, [_partner(rng, labels, left) for left in range(200)]])
    judged = [
        Judgement(bool(labels[left] == labels[right]), stored.ids[left], stored.ids[right])
        for left, right in pairs
        if left != right
    ]
    settings = {"draws": 5, "false_match_rate": 0.02}
    options = FitOptions(judgements=judged, settings=settings, name="judged")
    told = kept.run(kept.service.retrieval.fit(digits, "verification", options))
    assert told.count == len(judged)
    query = Question(stored.ids[0], fitted="judged")
    told = kept.run(kept.service.retrieval.verify(digits, query, Reference(stored.ids[1])))
    assert told.references == 1


def _partner(rng, labels, left):
    alike = np.flatnonzero(labels == labels[left])
    return left, int(rng.choice(alike[alike != left]))


@pytest.fixture
def classes(kept, stored):
    """The same items in the space of the other model."""
    if "classes" not in kept.made:
        kept.embed("classes", "digits", stored)
        kept.made["classes"] = True
    return "classes"


def test_a_diagnosis_of_a_store_is_that_of_its_arrays(kept, digits, classes, sample, stored, asked):
    queries = asked.vectors[MODEL]
    options = DiagnoseOptions(
        labels="label",
        queries=[Tensor(row) for row in queries],
        space=asked.spaces[MODEL],
        other=classes,
        settings={"drift": {"permutations": 199}},
    )
    told = kept.run(kept.service.retrieval.diagnose(digits, options))
    assert (told.count, told.of) == (300, 300)
    assert {each.diagnostic for each in told.results} == set(REGISTRY.diagnostics)
    whole = replace(
        sample,
        queries=queries,
        counterpart=stored.vectors["digits"],
        counterpart_space=stored.spaces["digits"],
    )
    for each in told.results:
        plugin = REGISTRY.diagnostics[each.diagnostic]
        wanted = plugin.measure(whole, settle(plugin, options.settings.get(plugin.name, {})))
        assert not each.refused, each
        assert each.figures == pytest.approx(
            {key: value for key, value in wanted.figures.items() if np.isfinite(value)}, rel=1e-6
        )
        assert dict(each.flagged) == dict(wanted.flagged)


def test_a_fit_of_one_space_is_refused_in_another(kept, fitted, classes, digits, asked):
    with pytest.raises(SpaceMismatchError):
        kept.run(
            kept.service.retrieval.vote(
                classes, Question(Tensor(asked.vectors[MODEL][0]), space=asked.spaces[MODEL])
            )
        )


def test_a_door_says_what_the_service_says(kept, fitted, asked):
    vector, space = asked.vectors[MODEL][0], asked.spaces[MODEL]
    body = {"input": {"tensor": {"values": vector.tolist()}}, "space": space, "k": 9}

    async def post(path, body):
        transport = httpx.ASGITransport(make_app(kept.service, Readiness(kept.service)))
        async with httpx.AsyncClient(transport=transport, base_url="http://kokeshi") as http:
            return await http.post(f"/v1/collections/digits/{path}", json=body)

    answer = kept.run(post("associate", body)).json()
    told = kept.run(kept.service.retrieval.associate("digits", question(asked, 0, k=9)))
    assert answer["neighbours"] == list(told.neighbours)
    assert answer["energy"] == pytest.approx(told.energy)
    refused = kept.run(post("vote", {**body, "dimension": 7}))
    assert refused.status_code == HTTP_STATUS["INVALID_ARGUMENT"]
