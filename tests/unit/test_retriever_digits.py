"""Retrievers on real embeddings: the two shipped models over scanned digits that neither saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Neighbours, Sample, settle
from kokeshi_plugins.digits.data import picture, scans
from kokeshi_plugins.retrievers import (
    funnel,
    hopfield,
    maps,
    neighbour_vote,
    open_set,
    pca,
    prototypes,
    verification,
)

MODELS = Path(__file__).parents[2] / "model_repository"
LENGTHS = (8, 16, 32, 64)


def embedded(model, images):
    session = onnxruntime.InferenceSession(MODELS / model / "1" / "model.onnx")
    return session.run(["embedding"], {"image": images})[0]


@pytest.fixture(scope="module")
def digits():
    """Embeddings of 450 scans by both models, and their labels."""
    held_out = scans("held_out")
    images = np.stack([np.asarray(picture(ink)) for ink in held_out.ink])
    labels = tuple(map(str, held_out.labels))
    return embedded("digits_mrl", images), embedded("digits", images), labels


@pytest.fixture(scope="module")
def sample(digits):
    nested, _, labels = digits
    return Sample(
        nested, ids=tuple(map(str, range(len(labels)))), labels=labels, dimensions=LENGTHS
    )


def others(sample, row, k=10, dimension=64):
    cut = sample.vectors[:, :dimension]
    cut = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    cosines = cut @ cut[row]
    cosines[row] = -2
    order = np.argsort(-cosines)[:k]
    return Neighbours(
        tuple(sample.ids[other] for other in order),
        cosines[order],
        tuple({"label": sample.labels[other]} for other in order),
        vectors=cut[order],
        query=cut[row],
        dimension=dimension,
        count=len(cut) - 1,
    )


def test_pairs_of_digits_are_verified_at_every_length(sample):
    settings = settle(verification.VERIFICATION, {"draws": 20})
    model = verification.fit(sample, settings)
    for operation in [*model.pairs, *model.sets]:
        rate = operation.upper.false_match_rate
        assert rate.low <= 0.0015
        assert rate.value < 0.004
        assert operation.upper.false_non_match_rate.value < 0.2
        assert operation.brier < 0.02
    assert len(model.sets) == 4
    by_length = {operation.dimension: operation for operation in model.pairs}
    assert by_length[64].brier < by_length[8].brier
    assert model.consistency[64].opis < model.consistency[8].opis
    # A set of references misses less than one does.
    assert all(
        of_set.upper.false_non_match_rate.value < pair.upper.false_non_match_rate.value
        for of_set, pair in zip(model.sets, model.pairs, strict=True)
    )


def test_a_subject_is_known_by_its_set(sample):
    settings = settle(verification.VERIFICATION, {"draws": 5})
    model = verification.fit(sample, settings)
    own = replace(others(sample, 0, k=3), count=3)
    verdict = verification.answer(own, {}, model)
    assert verdict["verdict"] == "same"
    assert verdict["probability"] > 0.95
    strangers = np.array([0.1, 0.05, 0.0], np.float32)
    far = Neighbours(own.ids, strangers, own.metadata)
    assert verification.answer(far, {}, model)["verdict"] == "different"


@pytest.mark.parametrize("kind", open_set.KINDS)
def test_a_digit_whose_class_is_gone_is_caught(sample, kind):
    settings = settle(open_set.OPEN_SET, {"kind": kind, "false_alarm_rate": 0.05})
    model = open_set.fit(sample, settings)
    assert model.false_alarms.low <= 0.05 <= model.false_alarms.high
    assert model.caught.value > 0.5
    answers = [open_set.answer(others(sample, row), {}, model) for row in range(0, 450, 9)]
    assert np.mean([answer["is_known"] for answer in answers]) > 0.85
    again = open_set.OpenSet.model_validate_json(model.model_dump_json())
    assert open_set.answer(others(sample, 3), {}, again) == open_set.answer(
        others(sample, 3), {}, model
    )


def test_noise_has_a_higher_energy_than_digits(sample):
    random = np.random.default_rng(0)
    noise = random.normal(size=(50, 64))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    known = [
        hopfield.energy_of(others(sample, row).vectors, sample.vectors[row], 16.0)
        for row in range(50)
    ]
    unknown = []
    for query in noise:
        near = sample.vectors[np.argsort(-(sample.vectors @ query))[:10]]
        unknown.append(hopfield.energy_of(near.astype(np.float64), query, 16.0))
    assert np.quantile(known, 0.95) < np.quantile(unknown, 0.05)


def test_the_votes_classify_digits(sample):
    settings = neighbour_vote.VOTE.defaults
    for dimension, least in ((8, 0.95), (64, 0.97)):
        right = [
            neighbour_vote.answer(others(sample, row, 20, dimension), settings)["label"]
            == sample.labels[row]
            for row in range(0, 450, 3)
        ]
        assert np.mean(right) >= least


def test_prototypes_classify_digits_and_keep_their_word(sample):
    model = prototypes.fit(sample, settle(prototypes.PROTOTYPES, {"error_rate": 0.01}))
    assert model.error_rate.low <= 0.01
    assert model.answered.value > 0.9


def test_the_map_between_the_shipped_models_is_measured_and_refused_above_what_it_reaches(digits):
    nested, plain, labels = digits
    sample = Sample(nested, labels=labels, counterpart=plain, dimensions=LENGTHS)
    model = maps.fit(sample, settle(maps.MAPS, {"least_recall": 0.0}))
    recall = model.recall[64]
    assert recall.low <= recall.value <= recall.high
    identity = maps.recall_of(plain.astype(np.float64), nested.astype(np.float64), 10, 64).mean()
    assert recall.value > identity + 0.2  # against the spaces as they are
    with pytest.raises(InvalidRequestError, match="held-out queries"):
        maps.fit(sample, settle(maps.MAPS, {"least_recall": recall.value + 0.01}))


def test_the_plain_models_prefixes_gain_from_the_rotation(digits):
    plain = Sample(digits[1])
    model = pca.fit(plain, pca.PCA.defaults)
    turned = pca.apply(plain.vectors, model)
    np.testing.assert_allclose(turned @ turned.T, plain.vectors @ plain.vectors.T, atol=1e-6)
    before = (plain.vectors[:, :8] ** 2).sum() / (plain.vectors**2).sum()
    assert model.energy[:8].sum() / model.energy.sum() > 2 * before


def test_a_funnel_over_the_nested_digits_reaches_its_recall(sample):
    settings = settle(funnel.FUNNEL, {"k": 5, "shortlist": 20, "recall": 0.95, "count": 360})
    model = funnel.fit(sample, settings)
    chosen = funnel.plan(settings, model)
    assert chosen["recall"]["low"] >= 0.95
    assert chosen["multiplications"] < chosen["scan"]
