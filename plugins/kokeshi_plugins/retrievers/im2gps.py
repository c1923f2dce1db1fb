"""IM2GPS: where a picture was taken, voted by the places of its neighbours.

Revisiting IM2GPS in the Deep Learning Era (Vo, Jacobs, Hays; ICCV 2017),
https://arxiv.org/abs/1705.04838. Code: https://github.com/lugiavn/revisiting-im2gps.

Two ways to take the vote:

- "grid" is what the authors' code does. The nearest 100 vote with 1 / d^10, d their squared
  Euclidean distance, on a grid of one degree, which a Gaussian of 4 degrees smooths; around the
  peak again on a grid of a tenth of a degree. The answer is the nearest neighbour (in the
  embedding) within 100 km of that peak, or the peak. The grid is flat: a degree of longitude
  weighs the same at every latitude, and the date line is an edge.
- "sphere" is the kernel density that the paper describes, with great-circle distances: the mode of
  sum w_i exp(-d(x, x_i)^2 / (2 sigma^2)), climbed from every neighbour by mean shift.

In the code an exact duplicate of the query weighs infinity, which leaves no peak; here it outweighs
all others.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import SHARE, Bounds, Neighbours, Paper, Retriever
from kokeshi_plugins.retrievers.fields import value_at
from kokeshi_plugins.retrievers.limits import VOTERS

Floats = npt.NDArray[np.float64]
Place = tuple[Any, Any]  # latitude and longitude, as metadata has them
EARTH_KM: Final = 6371.0
FARTHEST_KM: Final = 20_100.0  # a little more than half of a great circle
LEAST_SIGMA_KM: Final = 0.1
MOST_POWER: Final = 1_000.0
MOST_DEG: Final = (90, 180)  # of latitude and longitude, to each side
SPREAD_CELLS: Final = (4, 40)  # Gaussian's deviation on the coarse grid and on the fine one
WINDOW_CELLS: Final = 200  # of the fine grid, to each side of the coarse peak
EDGE_CELLS: Final = 21  # the coarse peak is kept so far from the edges, for the window to fit
SNAP_KM: Final = 100.0
NEAREST: Final = 1e-6  # squared distance below which pictures are duplicates
SHIFTS: Final = 100  # of the mean, at most
RESTS_KM: Final = 0.01
PAPER: Final = Paper(
    title="Revisiting IM2GPS in the Deep Learning Era",
    authors="Vo, Jacobs, Hays",
    year=2017,
    url="https://arxiv.org/abs/1705.04838",
)


def answer(
    neighbours: Neighbours, settings: Mapping[str, Any], model: None = None
) -> dict[str, Any]:
    """The place of a query; neighbours without a place do not vote.

    Returns:
        `place` as [latitude, longitude] in degrees, None where too little of the vote is near it;
        `support`, share of the vote within `support_km` of the peak; `voters`, ids; `snapped_to`,
        the neighbour whose place was taken, or None; `abstained`, why there is no place, or None.

    Raises:
        InvalidRequestError: a setting is out of range, or a place is.
    """
    del model
    if settings["method"] not in {"grid", "sphere"} or settings["sigma_km"] <= 0:
        raise InvalidRequestError(
            "expected method 'grid' or 'sphere' and sigma_km above 0, got "
            f"{settings['method']!r} and {settings['sigma_km']!r}"
        )
    given = _given(neighbours, settings)
    rows = np.array(list(given), np.int64)
    if not given:
        reason = _placeless(neighbours, settings)
        return _told(None, 0.0, (), None, reason)
    places = _places(list(given.values()))
    weights = vote_weights(_squared_distances(neighbours)[rows], settings["power"])
    if settings["method"] == "grid":
        peak, snapped = grid_peak(places, weights)
    else:
        peak, snapped = sphere_peak(places, weights, settings["sigma_km"]), None
    near = great_circle_km(peak, places) <= settings["support_km"]
    support, least = float(weights[near].sum() / weights.sum()), settings["least_support"]
    voters = [neighbours.ids[row] for row in rows]
    is_thin = support < least
    return _told(
        None if is_thin else peak.tolist(),
        support,
        voters,
        None if snapped is None else voters[snapped],
        f"a share of {support:.4g} is near the peak, the least is {least}" if is_thin else None,
    )


def _told(
    place: list[float] | None,
    support: float,
    voters: Sequence[str],
    snapped_to: str | None,
    abstained: str | None,
) -> dict[str, Any]:
    return {
        "place": place,
        "support": support,
        "voters": list(voters),
        "snapped_to": snapped_to,
        "abstained": abstained,
    }


def vote_weights(squared_distances: Floats, power: float) -> Floats:
    """1 / d^power, scaled so that the largest is 1; d are squared distances, as the authors'."""
    floored = np.maximum(squared_distances, NEAREST)
    weights: Floats = (floored.min() / floored) ** power
    return weights


def grid_peak(places: Floats, weights: Floats) -> tuple[Floats, int | None]:
    """The authors' two grids and snap.

    Args:
        places: (n, 2) latitude and longitude in degrees, nearest neighbour first.
        weights: (n,).

    Returns:
        The place (2,), and the row that it was taken from, if any.
    """
    coarse = _smoothed_peak(_cells(places, 1), weights, np.zeros(2), (180, 360), SPREAD_CELLS[0])
    edges = np.array([180, 360]) - EDGE_CELLS
    corner = np.clip(coarse, EDGE_CELLS, edges) * 10 - WINDOW_CELLS
    side = 2 * WINDOW_CELLS + 1
    fine = _smoothed_peak(_cells(places, 10), weights, corner - 1, (side, side), SPREAD_CELLS[1])
    peak = (fine + corner - 1 - np.array([900, 1800])) / 10
    within = np.flatnonzero(great_circle_km(peak, places) < SNAP_KM)
    return (places[within[0]], int(within[0])) if len(within) else (peak, None)


def sphere_peak(places: Floats, weights: Floats, sigma_km: float) -> Floats:
    """The mode of the Gaussian kernel density on the sphere, degrees (2,)."""
    points = _directions(places)
    best, height = points[0], -1.0
    for start in points:
        top = _climbed(start, points, weights, sigma_km)
        found = float(weights @ _kernel(top, points, sigma_km))
        if found > height:
            best, height = top, found
    return np.degrees([np.arcsin(np.clip(best[2], -1, 1)), np.arctan2(best[1], best[0])])


def great_circle_km(place: Floats, places: Floats) -> Floats:
    """Haversine distances of (2,) to (n, 2), in degrees, on a sphere of 6371 km."""
    first, second = np.radians(place), np.radians(places)
    half = (first - second) / 2
    across = np.cos(first[..., 0]) * np.cos(second[..., 0])
    chord = np.sin(half[..., 0]) ** 2 + across * np.sin(half[..., 1]) ** 2
    return 2 * EARTH_KM * np.arctan2(np.sqrt(chord), np.sqrt(1 - chord))


def _given(neighbours: Neighbours, settings: Mapping[str, Any]) -> dict[int, Place]:
    """What the nearest neighbours with a place have for it, by their row."""
    found: dict[int, Place] = {}
    for row, metadata in enumerate(neighbours.metadata):
        place = _place_of(metadata, settings)
        if place is not None and len(found) < settings["voters"]:
            found[row] = place
    return found


def _place_of(metadata: Mapping[str, Any], settings: Mapping[str, Any]) -> Place | None:
    """Of an object as `within` filters read it, or of two fields; None where there is neither."""
    whole = value_at(metadata, settings["place_field"])
    if isinstance(whole, Mapping) and {"lat", "lon"} <= set(whole):
        return whole["lat"], whole["lon"]
    fields = settings["latitude_field"], settings["longitude_field"]
    latitude, longitude = (value_at(metadata, field) for field in fields)
    return None if latitude is None or longitude is None else (latitude, longitude)


def _placeless(neighbours: Neighbours, settings: Mapping[str, Any]) -> str:
    """Why nobody votes."""
    if not neighbours.ids:
        return "there is no neighbour"
    return (
        f"no neighbour has an object of 'lat' and 'lon' in the field {settings['place_field']!r}, "
        f"or the fields {settings['latitude_field']!r} and {settings['longitude_field']!r}"
    )


def _places(given: Sequence[Place]) -> Floats:
    for place in given:
        are_numbers = all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in place
        )
        if not are_numbers or not all(
            abs(value) <= most for value, most in zip(place, MOST_DEG, strict=True)
        ):
            raise InvalidRequestError(
                f"expected a latitude and a longitude in degrees: {list(place)!r}"
            )
    return np.array(given, np.float64)


def _squared_distances(neighbours: Neighbours) -> Floats:
    """Of unit vectors from their cosines; distances are taken as they are."""
    scores = neighbours.scores.astype(np.float64)
    return 2 - 2 * scores if neighbours.higher_is_better else scores


def _cells(places: Floats, per_degree: int) -> Floats:
    """Numbers of cells, counted from 1 as the authors do."""
    cells: Floats = np.ceil(places * per_degree) + np.array([90, 180]) * per_degree
    return cells


def _smoothed_peak(
    cells: Floats, weights: Floats, origin: Floats, shape: tuple[int, int], spread: int
) -> Floats:
    """Cell (from 1, within the window) where the smoothed vote is highest; columns decide ties.

    The vote is a sum of single cells, so each axis' kernel is evaluated where they are.
    """
    inside = cells - origin
    kept = ((inside >= 1) & (inside <= shape)).all(axis=1)
    rows, columns = inside[kept].astype(int).T - 1 if kept.any() else np.zeros((2, 1), int)
    along = (_blur(extent, spread) for extent in shape)
    down, across = (matrix[:, at] for matrix, at in zip(along, (rows, columns), strict=True))
    vote = (down * weights[kept]) @ across.T if kept.any() else np.zeros(shape)
    flat = int(np.argmax(vote.T))
    return np.array([flat % shape[0] + 1, flat // shape[0] + 1], np.float64)


@cache
def _blur(extent: int, spread: int) -> Floats:
    """(extent, extent): column j is what a vote in cell j adds to each cell.

    The kernel ends at two deviations, and what is outside repeats the edge, as in MATLAB's
    imgaussfilt.
    """
    reach = 2 * spread
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets**2) / (2 * spread**2))
    matrix = np.zeros((extent, extent))
    cells = np.arange(extent)
    for offset, share in zip(offsets, kernel / kernel.sum(), strict=True):
        matrix[cells, np.clip(cells + offset, 0, extent - 1)] += share
    matrix.flags.writeable = False  # three of them are kept
    return matrix


def _directions(places: Floats) -> Floats:
    """Unit vectors (n, 3) of places in degrees."""
    latitude, longitude = np.radians(places).T
    flat = np.cos(latitude)
    return np.stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)], axis=1)


def _angles_km(point: Floats, points: Floats) -> Floats:
    chord = np.linalg.norm(points - point, axis=1)
    return 2 * EARTH_KM * np.arcsin(np.minimum(chord / 2, 1))


def _kernel(point: Floats, points: Floats, sigma_km: float) -> Floats:
    kernel: Floats = np.exp(-((_angles_km(point, points) / sigma_km) ** 2) / 2)
    return kernel


def _climbed(start: Floats, points: Floats, weights: Floats, sigma_km: float) -> Floats:
    """Mean shift to a mode (Comaniciu, Meer; 2002), on the sphere."""
    for _ in range(SHIFTS):
        mean = (weights * _kernel(start, points, sigma_km)) @ points
        moved = mean / np.linalg.norm(mean)
        if _angles_km(moved, start[None])[0] < RESTS_KM:
            return moved
        start = moved
    return start


IM2GPS: Final = Retriever(
    name="im2gps",
    paper=PAPER,
    licence="Apache-2.0",
    answer=answer,
    defaults={
        "method": "grid",
        "voters": 100,
        "power": 10.0,
        "sigma_km": 445.0,  # 4 degrees of a great circle
        "support_km": 750.0,  # the paper's "country" scale
        "least_support": 0.0,  # abstains below it
        "latitude_field": "latitude",
        "longitude_field": "longitude",
        "place_field": "place",  # an object of "lat" and "lon" there comes first
    },
    bounds={
        "voters": VOTERS,
        "power": Bounds(0, MOST_POWER),
        "sigma_km": Bounds(LEAST_SIGMA_KM, FARTHEST_KM),
        "support_km": Bounds(0, FARTHEST_KM),
        "least_support": SHARE,
    },
    rows=(103,),
    summary="Geolocation: the neighbours' places vote, on the authors' grid or on the sphere.",
)
