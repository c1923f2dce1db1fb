"""The diagnostics against libraries of others.

The figures are from tests/golden/collections/make_diagnostics.py.
"""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from kokeshi_plugins.diagnostics import (
    class_geometry,
    drift,
    hubness,
    intrinsic_dimension,
    label_audit,
    spaces,
)
from kokeshi_plugins.diagnostics.neighbours import nearest

pytest.importorskip("sklearn")
GOLDEN = Path(__file__).parents[1] / "golden" / "collections"
K = 10


@pytest.fixture(scope="module")
def golden():
    return json.loads((GOLDEN / "diagnostics.json").read_text())


@pytest.fixture(scope="module")
def data(golden):
    spec = spec_from_file_location("diagnostic_samples", GOLDEN / "diagnostic_samples.py")
    module = sys.modules["diagnostic_samples"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    digits = module.digits()
    assert digits.sha256 == golden["sample"]["sha256"], "the figures are of other vectors"
    return digits


@pytest.fixture(scope="module")
def neighbours(data):
    return nearest(data.vectors, data.vectors, 20, own=np.arange(len(data.vectors)))


def test_two_nn_is_scikit_dimensions(golden, neighbours):
    wanted = golden["intrinsic_dimension"]["two_nn"]
    assert intrinsic_dimension.two_nn(neighbours[0]) == pytest.approx(wanted, rel=1e-9)


def test_levina_and_bickels_likelihood_is_scikit_dimensions(golden, neighbours):
    wanted = golden["intrinsic_dimension"]["mle_20"]
    assert intrinsic_dimension.levina_bickel(neighbours[0]) == pytest.approx(wanted, rel=1e-9)


def test_hubness_is_scikit_hubness(golden, neighbours):
    times = hubness.occurrences(neighbours[1][:, :K], len(neighbours[1]))
    wanted = [golden["hubness"][name] for name in ("skewness", "robin_hood", "antihub", "hub")]
    np.testing.assert_allclose(hubness.figures_of(times, K), wanted, rtol=1e-9)
    assert times.max() == golden["hubness"]["most"]


def test_the_confident_joint_is_cleanlabs_to_the_item(golden, data, neighbours):
    votes = label_audit.vote(neighbours[1][:, :K], data.wrong_labels, 10)
    counts = label_audit.confident_joint(votes, data.wrong_labels)
    np.testing.assert_array_equal(counts, golden["label_audit"]["confident_joint"])


def test_the_joint_is_cleanlabs_within_its_rounding_to_whole_items(golden, data, neighbours):
    votes = label_audit.vote(neighbours[1][:, :K], data.wrong_labels, 10)
    found = label_audit.audit(votes, data.wrong_labels)
    whole_item = 1 / len(data.labels)
    np.testing.assert_allclose(found.joint, golden["label_audit"]["joint"], atol=whole_item)


def test_the_flagged_items_are_cleanlabs_but_for_ties(golden, data, neighbours):
    votes = label_audit.vote(neighbours[1][:, :K], data.wrong_labels, 10)
    found = label_audit.audit(votes, data.wrong_labels)
    ours, theirs = set(np.flatnonzero(found.wrong)), set(golden["label_audit"]["issues"])
    assert len(ours & theirs) >= 0.9 * len(ours | theirs)


def test_as_many_wrong_labels_are_found_as_by_cleanlab(golden, data, neighbours):
    votes = label_audit.vote(neighbours[1][:, :K], data.wrong_labels, 10)
    found = set(np.flatnonzero(label_audit.audit(votes, data.wrong_labels).wrong))
    wrong, theirs = set(data.flipped), set(golden["label_audit"]["issues"])
    assert len(found & wrong) >= len(theirs & wrong)
    assert len(found - wrong) <= len(theirs - wrong)


def test_spaces_compare_as_by_rsatoolbox_and_dcor(golden, data):
    one, other = (rows[:300].astype(np.float64) for rows in (data.vectors, data.others))
    found = spaces.similarities(one, other, (0.05, 0.95))
    wanted = [golden["spaces"][name] for name in spaces._FIGURES]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_mmd_is_torchmetrics_and_energy_distance_dcors(golden, data):
    distances = drift.distances_of(data.vectors[:400])
    lines = drift.shuffles(200, 200, 0, np.random.default_rng(0))
    mmd = drift.mmd_squared(drift.gaussian_kernel(distances), lines)
    # distances come from float32 products: good to a millionth
    assert mmd[0] == pytest.approx(golden["drift"]["mmd_squared"], rel=1e-4)
    energy = drift.energy_distance(distances, 200)
    assert energy == pytest.approx(golden["drift"]["energy_distance"], rel=1e-5)


def test_class_geometry_is_the_authors(golden, data):
    wanted = golden["class_geometry"]
    found = dict(
        zip(
            class_geometry._GEOMETRY,
            class_geometry.geometry(data.vectors, data.labels),
            strict=True,
        )
    )
    for name in ("nc1_variability", "nc1_cdnv", "nc2_log_distance"):
        # theirs keeps some of it in float32
        assert found[name] == pytest.approx(wanted[name], rel=1e-6), name


def test_self_duality_is_the_authors(golden, data):
    classes = class_geometry.classes_of(data.vectors, data.labels)
    found = class_geometry.duality(np.roll(classes.means, 1, axis=0), classes.centred)
    names = ("nc3_distance_of_rolled_means", "nc3_cosine_of_rolled_means")
    np.testing.assert_allclose(found, [golden["class_geometry"][name] for name in names], rtol=1e-9)
