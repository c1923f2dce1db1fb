"""IM2GPS: the authors' grids, written out in full with scipy, and the sphere."""

import numpy as np
import pytest

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Neighbours, settle
from kokeshi_plugins.retrievers import im2gps


def neighbours(places, scores):
    return Neighbours(
        ids=tuple(f"item{row}" for row in range(len(places))),
        scores=np.asarray(scores, np.float32),
        metadata=tuple({"latitude": at[0], "longitude": at[1]} for at in places),
    )


def ask(places, scores, **settings):
    return im2gps.answer(neighbours(places, scores), settle(im2gps.IM2GPS, settings))


def full_grids(places, weights):
    """predict_gps.m line by line on whole grids; MATLAB's imgaussfilt by scipy's correlation.

    Cells count from 1; a vote outside the grid is dropped, as the authors' `try` does.
    """
    from scipy.ndimage import gaussian_filter

    def votes(per_degree):
        grid = np.zeros((180 * per_degree, 360 * per_degree))
        for (latitude, longitude), weight in zip(places, weights, strict=True):
            row = int(np.ceil(latitude * per_degree)) + 90 * per_degree
            column = int(np.ceil(longitude * per_degree)) + 180 * per_degree
            if 1 <= row <= grid.shape[0] and 1 <= column <= grid.shape[1]:
                grid[row - 1, column - 1] += weight
        return grid

    def peak(grid):
        column, row = np.unravel_index(np.argmax(grid.T), grid.T.shape)
        return row + 1, column + 1

    row, column = peak(gaussian_filter(votes(1), 4, mode="nearest", truncate=2))
    row, column = np.clip(row, 21, 159), np.clip(column, 21, 339)
    window = votes(10)[row * 10 - 201 : row * 10 + 200, column * 10 - 201 : column * 10 + 200]
    low, left = peak(gaussian_filter(window, 40, mode="nearest", truncate=2))
    found = np.array([(low + row * 10 - 201 - 900) / 10, (left + column * 10 - 201 - 1800) / 10])
    for place in places:
        if im2gps.great_circle_km(found, np.array([place]))[0] < 100:
            return np.array(place)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_grids_are_the_authors_grids(seed):
    random = np.random.default_rng(seed)
    centre = random.uniform([-60, -170], [60, 170])
    crowd = centre + random.normal(0, 3, (30, 2))
    places = np.clip(
        np.concatenate([crowd, random.uniform([-90, -180], [90, 180], (30, 2))]),
        [-90, -180],
        [90, 180],
    )
    weights = random.uniform(0.1, 1, 60)
    found, _ = im2gps.grid_peak(places, weights)
    np.testing.assert_allclose(found, full_grids(places, weights), atol=1e-9)


def test_neighbours_far_apart_leave_the_peak_unsnapped():
    places = np.array([[10.0, 10.0], [10.0, 13.0], [13.0, 11.5], [7.0, 11.5]])
    found, snapped = im2gps.grid_peak(places, np.ones(4))
    assert snapped is None
    np.testing.assert_allclose(found, full_grids(places, np.ones(4)), atol=1e-9)


def test_the_nearest_neighbour_within_100_km_lends_its_place():
    answer = ask([(48.86, 2.35), (48.80, 2.30), (-33.9, 151.2)], [0.9, 0.89, 0.5])
    assert answer["place"] == [48.86, 2.35]
    assert answer["snapped_to"] == "item0"
    assert answer["support"] > 0.99


def test_weights_fall_with_the_tenth_power_of_the_squared_distance():
    weights = im2gps.vote_weights(np.array([0.5, 1.0]), 10)
    assert weights.tolist() == [1.0, 0.5**10]


def test_a_duplicate_outweighs_everything_and_leaves_a_finite_answer():
    answer = ask([(60.0, 10.0), (0.0, 0.0), (0.1, 0.0)], [1.0, 0.9, 0.9])
    assert answer["place"] == [60.0, 10.0]
    assert np.isfinite(answer["support"])


def test_the_sphere_joins_what_the_date_line_parts():
    places = [(0.0, 179.5), (0.0, -179.5), (0.0, 0.0)]
    found = im2gps.sphere_peak(np.array(places), np.ones(3), 445.0)
    assert abs(abs(found[1]) - 180) < 0.2
    assert abs(found[0]) < 0.2


def test_the_sphere_finds_the_mode_of_the_density():
    random = np.random.default_rng(0)
    places = random.normal([60, 20], [3, 6], (40, 2))
    weights = random.uniform(0.1, 1, 40)

    def density(at):
        far = im2gps.great_circle_km(at, places)
        return weights @ np.exp(-((far / 300) ** 2) / 2)

    found = im2gps.sphere_peak(places, weights, 300.0)
    around = found + np.stack(np.meshgrid([-0.3, 0, 0.3], [-0.3, 0, 0.3]), -1).reshape(-1, 2)
    brute = max(
        density(np.array([row, column]))
        for row in np.arange(50, 70, 0.5)
        for column in np.arange(5, 35, 0.5)
    )
    assert density(found) >= max(density(at) for at in around) - 1e-6
    assert density(found) >= brute


def test_great_circles_are_as_long_as_they_are():
    quarter = im2gps.great_circle_km(np.array([0.0, 0.0]), np.array([[0.0, 90.0], [90.0, 0.0]]))
    np.testing.assert_allclose(quarter, 6371 * np.pi / 2)


def told(metadata, **settings):
    """The answer of neighbours with this metadata, nearest first."""
    scores = np.linspace(0.9, 0.8, len(metadata), dtype=np.float32)
    found = Neighbours(tuple(f"item{n}" for n in range(len(metadata))), scores, tuple(metadata))
    return im2gps.answer(found, settle(im2gps.IM2GPS, settings))


def test_without_places_it_abstains_and_says_which_fields_it_looked_for():
    answer = told([{"label": "x"}], place_field="taken.at")
    reason = answer.pop("abstained")
    assert answer == {"place": None, "support": 0.0, "voters": [], "snapped_to": None}
    assert reason == (
        "no neighbour has an object of 'lat' and 'lon' in the field 'taken.at', or the fields "
        "'latitude' and 'longitude'"
    )
    assert told([])["abstained"] == "there is no neighbour"


@pytest.mark.parametrize(
    ("metadata", "settings"),
    [
        ({"place": {"lat": 48.86, "lon": 2.35}}, {}),
        ({"taken": {"lat": 48.86, "lon": 2.35}}, {"place_field": "taken"}),
        ({"taken": {"at": {"lat": 48.86, "lon": 2.35}}}, {"place_field": "taken.at"}),
        (
            {"taken": {"lat": 48.86, "lon": 2.35}},
            {"latitude_field": "taken.lat", "longitude_field": "taken.lon"},
        ),
        (
            {"taken.lat": 48.86, "taken.lon": 2.35},
            {"latitude_field": "taken.lat", "longitude_field": "taken.lon"},
        ),
        ({"place": "Paris", "latitude": 48.86, "longitude": 2.35}, {}),
        ({"place": {"lat": 48.86, "lon": 2.35}, "latitude": 0, "longitude": 0}, {}),
    ],
)
def test_a_place_is_an_object_or_two_fields_anywhere_in_the_metadata(metadata, settings):
    answer = told([metadata, {"place": "nowhere"}], **settings)
    assert answer["place"] == [48.86, 2.35]
    assert answer["voters"] == ["item0"]
    assert answer["abstained"] is None


def test_an_object_that_is_no_place_is_refused():
    with pytest.raises(InvalidRequestError, match=r"latitude and a longitude in degrees: \[91"):
        told([{"place": {"lat": 91, "lon": 0}}])


def test_it_abstains_where_the_vote_is_scattered():
    places = [(0.0, 0.0), (50.0, 100.0), (-50.0, -100.0)]
    answer = ask(places, [0.5, 0.5, 0.5], least_support=0.5)
    assert answer["place"] is None
    assert answer["abstained"] == "a share of 0.3333 is near the peak, the least is 0.5"


@pytest.mark.parametrize(
    "place", [(91.0, 0.0), (0.0, 181.0), ("x", 0.0), (True, 0.0), (float("nan"), 0.0)]
)
def test_a_place_that_is_none_is_refused(place):
    with pytest.raises(InvalidRequestError, match="latitude and a longitude"):
        ask([place], [0.5])
