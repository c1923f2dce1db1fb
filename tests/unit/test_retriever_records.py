"""What all retrievers keep: complete records, models that JSON carries, imports that are light."""

import json
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Pairs, Retriever, Sample, settle
from kokeshi_plugins import retrievers
from kokeshi_plugins.retrievers import bt2, depth, hopfield, open_set, pca
from kokeshi_plugins.retrievers.fitted import thinned, unit
from kokeshi_plugins.retrievers.tails import weibull

BY_NAME = {retriever.name: retriever for retriever in retrievers.PLUGINS}


def crowd(count=240, dim=8):
    random = np.random.default_rng(2)
    numbers = np.arange(count) % 6
    vectors = unit(random.normal(size=(6, dim))[numbers] + random.normal(0, 0.3, (count, dim)))
    other = vectors @ np.linalg.qr(random.normal(size=(dim, dim)))[0]
    return Sample(
        vectors.astype(np.float32),
        ids=tuple(map(str, range(count))),
        labels=tuple(f"class{number}" for number in numbers),
        counterpart=other.astype(np.float32),
        dimensions=(4, 8),
        space="0123456789abcdef",
    )


SMALL = {
    "verification": {"draws": 5, "false_match_rate": 0.01},
    "open_set": {"kind": "evm"},
    "nested_depth": {"query_depth": 1, "k": 3},
    "funnel": {"k": 3, "shortlist": 10},
    "space_map": {"k": 3, "least_recall": 0.5},
}


@pytest.mark.parametrize("retriever", retrievers.PLUGINS, ids=lambda retriever: retriever.name)
def test_a_record_says_who_published_what_and_what_it_does(retriever: Retriever):
    assert retriever.name.replace("_", "").isalnum()
    assert retriever.paper.url.startswith("https://")
    assert retriever.paper.year > 1900
    assert retriever.licence
    assert retriever.summary.endswith(".")
    assert retriever.answer or retriever.apply or retriever.plan
    assert not (retriever.fit and not retriever.model)
    json.dumps(dict(retriever.defaults))


@pytest.mark.parametrize("name", [name for name, plugin in BY_NAME.items() if plugin.fit])
def test_a_model_goes_through_json_to_the_bit(name):
    retriever = BY_NAME[name]
    model = retriever.fit(crowd(), settle(retriever, SMALL.get(name, {})))
    text = model.model_dump_json()
    again = retriever.model.model_validate_json(text)
    assert again.model_dump_json() == text
    assert json.loads(text)["version"] == 1
    assert model.space == "0123456789abcdef"


@pytest.mark.parametrize("name", [name for name, plugin in BY_NAME.items() if plugin.fit])
def test_every_fit_tells_what_it_measured_in_words_of_json(name):
    retriever = BY_NAME[name]
    model = retriever.fit(crowd(), settle(retriever, SMALL.get(name, {})))
    told = retriever.figures(model)
    assert json.loads(json.dumps(told, allow_nan=False)).keys() == told.keys()
    assert any(isinstance(each, int | float | dict | list) and each for each in told.values())
    assert "null" not in json.dumps(told)


def test_a_model_is_frozen_with_its_arrays():
    model = pca.fit(crowd(), pca.PCA.defaults)
    with pytest.raises(ValidationError, match="frozen"):
        model.count = 3
    with pytest.raises(ValueError, match="read-only"):
        model.axes[0, 0] = 1


@pytest.mark.parametrize(
    "spoilt",
    [
        {"version": 2},
        {"unheard": 1},
        {"energy": {"dtype": "<i8", "shape": [1], "base64": "AAAAAAAAAAA="}},
        {"energy": {"dtype": "<f8", "shape": [1], "base64": "AAAAAAAA+H8="}},  # NaN
        {"energy": {"dtype": "<f8", "shape": [7], "base64": "AAAAAAAAAAA="}},
        {"energy": 3},
    ],
)
def test_a_model_of_another_version_or_with_a_spoilt_array_is_not_read(spoilt):
    whole = json.loads(pca.fit(crowd(), pca.PCA.defaults).model_dump_json())
    with pytest.raises(ValidationError):
        pca.Rotation.model_validate_json(json.dumps(whole | spoilt))


def test_settings_are_the_defaults_with_what_was_changed():
    assert settle(hopfield.HOPFIELD, {"updates": 3})["updates"] == 3
    assert settle(hopfield.HOPFIELD, {"beta": 4})["beta"] == 4  # a whole number for a real one


@pytest.mark.parametrize(
    "given", [{"betas": 1.0}, {"updates": 1.5}, {"updates": True}, {"beta": "1"}]
)
def test_unknown_settings_and_other_types_are_refused(given):
    with pytest.raises(InvalidRequestError, match="setting"):
        settle(hopfield.HOPFIELD, given)


def test_a_large_sample_is_thinned_evenly_and_its_fields_stay_together():
    sample = crowd(count=240)
    few = thinned(sample, 60)
    rows = [int(key) for key in few.ids]
    assert len(rows) == 60
    assert rows == sorted(rows)
    np.testing.assert_array_equal(few.vectors, sample.vectors[rows])
    np.testing.assert_array_equal(few.counterpart, sample.counterpart[rows])
    assert few.labels == tuple(sample.labels[row] for row in rows)
    assert thinned(sample, 240) is sample
    with pytest.raises(InvalidRequestError, match="at least 1 item, got 0"):
        thinned(sample, 0)


def test_labels_that_do_not_fit_the_items_are_refused():
    with pytest.raises(InvalidRequestError, match="each of 3 items"):
        hopfield.fit(
            Sample(np.eye(3, dtype=np.float32), labels=("a", "b")), hopfield.HOPFIELD.defaults
        )


def test_judgements_that_say_one_thing_alone_are_refused():
    from kokeshi_plugins.retrievers import verification

    pairs = Pairs(np.ones(9, np.float32), np.ones(9, bool))
    sample = Sample(np.empty((0, 2), np.float32), pairs=pairs)
    with pytest.raises(InvalidRequestError, match="same and of different, got 9 and 0"):
        verification.fit(sample, settle(verification.VERIFICATION, {}))


def test_weibull_fits_are_scipys():
    from scipy.stats import weibull_min

    random = np.random.default_rng(0)
    samples = np.stack(
        [
            scale * random.weibull(shape, 60)
            for shape, scale in ((0.7, 2.0), (1.5, 0.01), (6.0, 1.0), (40.0, 3.0))
        ]
    )
    shapes, scales = weibull(samples)
    for row, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
        law = weibull_min(shape, scale=scale)
        fitted = weibull_min.fit(samples[row], floc=0)
        assert (shape, scale) == pytest.approx((fitted[0], fitted[2]), rel=1e-2)
        # The likelihood is no lower than that of scipy's general optimiser.
        reference = weibull_min(fitted[0], scale=fitted[2])
        assert law.logpdf(samples[row]).sum() >= reference.logpdf(samples[row]).sum() - 1e-9


def test_equal_samples_have_a_steep_law_and_no_nan():
    shapes, scales = weibull(np.full((1, 10), 0.4))
    assert np.isfinite(shapes).all()
    assert scales[0] == pytest.approx(0.4, rel=1e-2)


def test_margins_decide_what_is_inside():
    sample = crowd()
    model = open_set.fit(sample, settle(open_set.OPEN_SET, {"kind": "evm", "tail": 20}))
    cosines = (sample.vectors @ sample.vectors.T).astype(np.float64)
    row = 5
    others = [n for n in range(240) if sample.labels[n] != sample.labels[row]]
    halves = np.sort(np.sqrt(2 - 2 * cosines[row, others]))[:20] / 2
    shape, scale = weibull(halves[None])
    assert (model.shapes[row], model.scales[row]) == pytest.approx((shape[0], scale[0]), rel=1e-6)


def test_importing_the_retrievers_imports_nothing_heavy():
    heavy = "{'torch', 'sklearn', 'scipy', 'faiss', 'matplotlib'}"
    code = f"import sys, kokeshi_plugins.retrievers; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_records_without_a_fit_say_what_they_take():
    model = bt2.Basis(rotation=np.eye(4), old_rotation=np.eye(4), added=2, scale=2.0)
    assert model.source_dim == 6
    assert depth.DEPTH.model is depth.Grid
