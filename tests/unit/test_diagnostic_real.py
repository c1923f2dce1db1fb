"""The diagnostics of real embeddings: scanned digits through the shipped models."""

from pathlib import Path

import numpy as np
import pytest

from kokeshi.plugin import Sample, settle
from kokeshi_plugins.diagnostics import (
    class_geometry,
    drift,
    intrinsic_dimension,
    label_audit,
    prefixes,
    spaces,
)
from kokeshi_plugins.digits import DIMENSIONS
from kokeshi_plugins.digits.data import picture, scans

pytest.importorskip("sklearn")
runtime = pytest.importorskip("onnxruntime")
MODELS = Path(__file__).parents[2] / "model_repository"


def embedded(model, ink):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    file = MODELS / model / "1" / "model.onnx"
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    images = np.stack([np.asarray(picture(scan)) for scan in ink])
    return session.run(["embedding"], {session.get_inputs()[0].name: images})[0]


@pytest.fixture(scope="module")
def digits():
    """The scans that no model was fitted to."""
    held_out = scans("held_out")
    return Sample(
        vectors=embedded("digits_mrl", held_out.ink),
        labels=tuple(map(str, held_out.labels)),
        counterpart=embedded("digits", held_out.ink),
        dimensions=DIMENSIONS,
    )


def measured(module, sample, **given):
    return module.PLUGIN.measure(sample, settle(module.PLUGIN, given))


def test_digits_fill_a_few_dimensions_and_a_short_prefix_is_suggested(digits):
    found = measured(intrinsic_dimension, digits).figures
    assert 4 < found["mle_dimension"] < 10
    assert found["suggested_prefix_dimensions"] == 16


def test_a_matryoshka_prefix_is_better_the_longer_it_is(digits):
    found = measured(prefixes, digits).figures
    recalls = [found[f"self_recall_at_10_of_{length}"] for length in DIMENSIONS]
    assert recalls == sorted(recalls)
    assert recalls[0] > 0.4
    assert found["neighbour_accuracy_of_8"] > 0.95
    assert found["energy_share_of_64"] == pytest.approx(1)


def test_a_trained_embedding_is_closer_to_collapse_than_its_pixels(digits):
    trained = measured(class_geometry, digits).figures
    ink = scans("held_out").ink.reshape(len(digits.vectors), -1)
    pixels = measured(class_geometry, Sample(vectors=ink, labels=digits.labels)).figures
    assert trained["nc1_cdnv"] < pixels["nc1_cdnv"] / 2
    assert trained["nearest_centre_accuracy"] > pixels["nearest_centre_accuracy"]


def test_wrong_labels_among_real_digits_are_found(digits):
    random = np.random.default_rng(0)
    given = np.array(digits.labels)
    flipped = random.choice(len(given), 22, replace=False)  # 5 in 100
    for row in flipped:
        given[row] = str((int(given[row]) + random.integers(1, 10)) % 10)
    found = measured(label_audit, Sample(vectors=digits.vectors, labels=tuple(given)))
    flagged = {int(name.removeprefix("row ")) for name in found.flagged}
    hits = flagged & set(flipped.tolist())
    assert len(hits) >= 0.9 * len(flipped)
    assert len(hits) >= 0.8 * len(flagged)


def test_queries_of_other_digits_are_drift_and_of_the_same_are_not(digits):
    labels, half = np.array(digits.labels).astype(int), np.arange(len(digits.vectors)) % 2 == 0
    same = Sample(vectors=digits.vectors[half], queries=digits.vectors[~half])
    assert measured(drift, same).figures["drifted"] == 0
    ones = digits.vectors[~half & (labels < 5)]
    found = measured(drift, Sample(vectors=digits.vectors[half], queries=ones))
    assert found.figures["drifted"] == 1


def test_two_models_of_digits_agree_on_classes_more_than_on_neighbours(digits):
    found = measured(spaces, digits).figures
    assert found["rsa_pearson"] > 0.8
    assert found["chance_overlap"] < found["neighbour_overlap_at_10"] < 0.7
