"""Retrievers against what their authors' own code answered.

The figures are from tests/golden/collections/make_retrievers.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from kokeshi_plugins.retrievers import bt2, hopfield
from kokeshi_plugins.retrievers.funnel import Stage, walk

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "collections" / "retrievers.json").read_text()
)


@pytest.mark.parametrize("case", GOLDEN["hopfield"]["cases"])
def test_hopfield_retrieves_what_the_authors_layer_does(case):
    stored = np.array(GOLDEN["hopfield"]["stored"])
    for state, pattern, weights in zip(
        GOLDEN["hopfield"]["states"], case["patterns"], case["weights"], strict=True
    ):
        found = hopfield.retrieve(stored, state, case["beta"], case["updates"], tolerance=0)
        np.testing.assert_allclose(found.pattern, pattern, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.weights, weights, rtol=1e-9, atol=1e-12)
        assert found.updates <= case["updates"]  # it may rest before


@pytest.mark.parametrize("case", GOLDEN["bt2"])
def test_the_basis_transformation_is_the_authors_forward(case):
    model = bt2.Basis(
        rotation=np.array(case["rotation"]),
        old_rotation=np.array(case["old_rotation"]),
        added=case["added"],
        scale=case["scale"],
    )
    psi = np.array(case["psi"])[:, : case["added"]]
    whole = bt2.apply(np.concatenate([psi, case["phi"]], axis=1), model)
    np.testing.assert_allclose(whole, case["whole"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(whole[:, :8], case["bct"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), np.hypot(1, case["scale"]), rtol=1e-6)


def test_the_basis_says_which_lengths_search_which_gallery():
    case = GOLDEN["bt2"][0]
    model = bt2.Basis(
        rotation=np.array(case["rotation"]),
        old_rotation=np.array(case["old_rotation"]),
        added=case["added"],
        scale=case["scale"],
    )
    plan = bt2.backward_plan({}, model)
    assert plan["old_gallery"] == {"metric": "ip", "dimension": 8}
    assert plan["new_gallery"]["dimension"] == 8 + case["added"]


def test_the_funnel_finds_what_the_authors_notebook_does():
    case = GOLDEN["mrl"]
    lengths = [case["start"], *case["lengths"]]
    stages = [
        Stage(dimension=length, keep=keep)
        for length, keep in zip(lengths, [*case["shortlist"], case["shortlist"][-1]], strict=True)
    ]
    found = walk(stages, np.array(case["items"]), np.array(case["queries"]))
    assert found.tolist() == case["found"]
