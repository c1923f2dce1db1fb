"""Distance on a sphere, for rows of points at once.

Points are held as unit vectors and compared by their chord, which is exact to micrometres at any
distance and knows neither poles nor an antimeridian.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeGuard

import numpy as np

from kokeshi.index.filters.cells import Array, Mask
from kokeshi.index.filters.grammar import Within

# Mean radius of the Earth as the IUGG defines it (Moritz, Geodetic Reference System 1980).
EARTH_RADIUS_M: Final = 6_371_008.8
MAX_LATITUDE: Final = 90.0
MAX_LONGITUDE: Final = 180.0


def point(value: object) -> tuple[float, float] | None:
    """Latitude and longitude of {"lat": degrees, "lon": degrees}; None where it is none."""
    if not isinstance(value, dict):
        return None
    latitude, longitude = value.get("lat"), value.get("lon")
    if not _is_degrees(latitude, MAX_LATITUDE) or not _is_degrees(longitude, MAX_LONGITUDE):
        return None
    return float(latitude), float(longitude)


def encode(points: Sequence[tuple[float, float]]) -> tuple[Array, ...]:
    """(n,) x, y and z on the unit sphere, float64, of latitudes and longitudes."""
    latitude, longitude = np.radians(np.array(points, np.float64).reshape(-1, 2).T)
    level = np.cos(latitude)
    return level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)


def decode(x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """The inverse of `encode`: (n,) latitudes and longitudes in degrees."""
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def nearness(asked: Within) -> Callable[[Array, Array, Array], Mask]:
    """A test of x, y and z for being no farther than the radius."""
    (x,), (y,), (z,) = encode([(asked.latitude, asked.longitude)])
    angle = min(asked.radius_m / EARTH_RADIUS_M, np.pi)
    most = (2 * np.sin(angle / 2)) ** 2 if angle < np.pi else np.inf

    def is_near(xs: Array, ys: Array, zs: Array) -> Mask:
        chords = np.square(xs - x)
        chords += np.square(ys - y)
        chords += np.square(zs - z)
        near: Mask = chords <= most
        return near

    return is_near


def _is_degrees(value: object, most: float) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= most
