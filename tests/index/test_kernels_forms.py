"""Forms find most of the nearest rows, only allowed ones, and the same again after a file."""

import numpy as np
import pytest

from kokeshi.index import Tuning, forms
from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels import Part, nearest, settle

ROWS, DIM = 6000, 32
SMALL = Tuning(hnsw_links=16, ef_construction=64)


def scatter(metric, rows=ROWS, seed=0):
    """Vectors in clusters, cut into two parts."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((60, DIM)).astype(np.float32)
    vectors = centres[rng.integers(60, size=rows)]
    vectors = vectors + 0.5 * rng.standard_normal((rows, DIM)).astype(np.float32)
    vectors *= (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    if metric == "hyperbolic":
        vectors *= 0.9 / np.linalg.norm(vectors, axis=1).max()
    geometry = Geometry(metric, (DIM,) if metric == "hyperbolic" else (16, DIM))
    numbers, half = np.arange(rows), rows // 2
    parts = [
        Part(geometry.block(numbers[chosen], vectors[chosen]))
        for chosen in (slice(0, half), slice(half, rows))
    ]
    return geometry, parts, vectors


def recall(form, geometry, parts, wanted, allowed=None, breadth=None):
    """Share of the ten nearest at the form's length among its hundred candidates."""
    found = 0
    whole = [
        part._replace(allowed=None if allowed is None else allowed[part.block.rows])
        for part in parts
    ]
    for vector in wanted:
        query = geometry.query(vector, form.first)
        candidates = form.candidates(query, 100, breadth, allowed)
        assert np.all(np.diff(candidates) > 0)
        assert len(candidates) <= 100
        assert allowed is None or allowed[candidates].all()
        [exact] = nearest(geometry, whole, [query], 10)
        expected, _ = settle(geometry, whole, exact, query, 10)
        found += len(np.intersect1d(expected, candidates))
    return found / (10 * len(wanted))


CASES = [
    ("hnsw", "cosine", 16),
    ("hnsw", "l2", 32),
    ("hnsw", "ip", 32),
    ("ivf", "cosine", 32),
    ("ivf", "l2", 32),
    ("ivf", "ip", 16),
    ("panorama", "cosine", 32),
    ("panorama", "l2", 32),
    ("panorama", "ip", 32),
]


@pytest.mark.parametrize(("kind", "metric", "length"), CASES)
def test_a_form_finds_most_of_the_nearest_with_and_without_a_mask(kind, metric, length):
    geometry, parts, _ = scatter(metric)
    _, _, wanted = scatter(metric, 20, seed=0)
    form = forms.build(kind, geometry, parts, length, SMALL)
    assert (form.kind, form.first, form.size) == (kind, length, ROWS)
    least = 1.0 if form.is_exact else 0.9
    assert recall(form, geometry, parts, wanted) >= least
    allowed = np.random.default_rng(1).random(ROWS) < 0.5
    assert recall(form, geometry, parts, wanted, allowed) >= least
    assert form.memory_bytes > ROWS * length / 8


@pytest.mark.parametrize(("kind", "metric", "length"), CASES)
def test_a_file_holds_the_whole_form(kind, metric, length, tmp_path):
    geometry, parts, wanted = scatter(metric, 2000)
    form = forms.build(kind, geometry, parts, length, SMALL)
    forms.write(form, tmp_path / "form")
    again = forms.read(tmp_path / "form", geometry, SMALL)
    assert (again.kind, again.first, again.size) == (kind, length, 2000)
    assert again.memory_bytes == form.memory_bytes
    for vector in wanted[:5]:
        query = geometry.query(vector, length)
        assert again.candidates(query, 50).tolist() == form.candidates(query, 50).tolist()


@pytest.mark.parametrize(("kind", "metric", "length"), CASES)
@pytest.mark.parametrize("is_read", [False, True])
def test_a_form_grows_by_a_copy(kind, metric, length, is_read, tmp_path):
    geometry, parts, vectors = scatter(metric)
    form = forms.build(kind, geometry, parts[:1], length, SMALL)
    if is_read:
        forms.write(form, tmp_path / "form")
        form = forms.read(tmp_path / "form", geometry, SMALL)
    grown = forms.extend(form, geometry, parts)
    assert (form.size, grown.size) == (ROWS // 2, ROWS)
    assert recall(grown, geometry, parts, vectors[::400]) >= (1.0 if form.is_exact else 0.85)


@pytest.mark.parametrize("kind", forms.KINDS)
def test_a_build_tells_its_progress_and_stops_when_told(kind):
    geometry, parts, _ = scatter("l2")
    shares = []
    forms.build(kind, geometry, parts, DIM, SMALL, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) >= 2
    shares.clear()
    with pytest.raises(forms.BuildStoppedError):
        forms.build(kind, geometry, parts, DIM, SMALL, lambda: bool(shares), progress=shares.append)
    assert len(shares) == 1


def test_more_breadth_finds_more():
    geometry, parts, vectors = scatter("cosine")
    form = forms.build("ivf", geometry, parts, DIM, SMALL)
    narrow, wide = (
        recall(form, geometry, parts, vectors[::300], breadth=breadth) for breadth in (1, 1000)
    )
    assert narrow < wide
    assert wide >= 0.95


def test_a_form_of_few_rows_finds_all_of_them():
    geometry, parts, vectors = scatter("cosine", 30)
    for kind in forms.KINDS:
        form = forms.build(kind, geometry, parts, DIM, SMALL)
        query = geometry.query(vectors[0], DIM)
        assert form.candidates(query, 100, 1000).tolist() == list(range(30))
        assert form.candidates(query, 100, 1000, np.zeros(30, bool)).tolist() == []


def test_which_form_serves_which_metric_is_declared():
    assert forms.serves("panorama", "cosine")
    assert not forms.serves("hnsw", "hyperbolic")
    assert not forms.serves("panorama", "hyperbolic")


def test_a_file_of_another_length_is_refused(tmp_path):
    geometry, parts, _ = scatter("cosine", 100)
    forms.write(forms.build("panorama", geometry, parts, DIM, SMALL), tmp_path / "form")
    with pytest.raises(ValueError, match="expected one of"):
        forms.read(tmp_path / "form", Geometry("cosine", (64,)), SMALL)
