"""What fits return: frozen records that JSON carries to the bit."""

from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Sample

_KINDS = {"<f4", "<f8"}


def _encode(array: npt.NDArray[Any]) -> dict[str, Any]:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": little.dtype.str,
        "shape": list(little.shape),
        "base64": b64encode(little.tobytes()).decode(),
    }


def _decode(value: object) -> npt.NDArray[Any]:
    """An array as it is, or from what `_encode` wrote.

    Raises:
        ValueError: it is neither, or holds what is not finite; pydantic says where.
    """
    if isinstance(value, dict):
        if value.get("dtype") not in _KINDS:
            raise ValueError("expected an array of float32 or float64")
        flat = np.frombuffer(b64decode(value["base64"], validate=True), value["dtype"])
        value = flat.reshape(value["shape"])
    if not isinstance(value, np.ndarray) or not np.isfinite(value).all():
        raise ValueError("expected an array of finite numbers")
    frozen = value.astype(value.dtype.newbyteorder("="))
    frozen.flags.writeable = False
    return frozen


Array = Annotated[npt.NDArray[Any], PlainValidator(_decode), PlainSerializer(_encode)]


class Record(BaseModel):
    """A part of a model: frozen, strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Fitted(Record):
    """A model: `space` is the fingerprint of the embedding space that it was fitted in."""

    version: Literal[1] = 1
    space: str = ""


class Rate(Record):
    """A share that was counted, with its 95 % interval."""

    value: float
    low: float
    high: float
    count: int  # of the trials


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> Rate:
    """A share with the exact interval of independent trials (Clopper, Pearson; 1934)."""
    from scipy.special import betaincinv

    tail, misses = (1 - confidence) / 2, trials - hits
    low = betaincinv(hits, misses + 1, tail) if hits else 0.0
    high = betaincinv(hits + 1, misses, 1 - tail) if misses else 1.0
    return Rate(value=hits / trials, low=float(low), high=float(high), count=trials)


def bootstrap_mean(
    values: npt.NDArray[np.float64], seed: int, draws: int = 1000, confidence: float = 0.95
) -> Rate:
    """A mean of (n,) values with its percentile interval over resampled values (Efron; 1979)."""
    random = np.random.default_rng(seed)
    means = random.choice(values, (draws, len(values))).mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Rate(value=float(values.mean()), low=float(low), high=float(high), count=len(values))


def unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Rows of (n, dim) at length 1, float64; rows of zeros stay."""
    wide = np.asarray(vectors, np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), np.finfo(float).tiny)


def thinned(sample: Sample, most: int) -> Sample:
    """The sample, or `most` of its items drawn evenly, in their order: some fits compare all pairs.

    Raises:
        InvalidRequestError: `most` is below 1, or a field has not one entry per item.
    """
    count = len(sample.vectors)
    per_item = (sample.ids, sample.labels, sample.metadata)
    if most < 1 or any(len(field) not in {0, count} for field in per_item):
        lengths = [len(field) for field in per_item]
        raise InvalidRequestError(
            f"expected an id, a label and metadata for each of {count} items or for none, got "
            f"{lengths}, and to keep at least 1 item, got {most!r}"
        )
    if count <= most:
        return sample
    rows = np.sort(np.random.default_rng(sample.seed).choice(count, most, replace=False))
    return replace(
        sample,
        vectors=sample.vectors[rows],
        ids=tuple(sample.ids[row] for row in rows) if sample.ids else (),
        labels=tuple(sample.labels[row] for row in rows) if sample.labels else (),
        metadata=tuple(sample.metadata[row] for row in rows) if sample.metadata else (),
        counterpart=None if sample.counterpart is None else sample.counterpart[rows],
    )


def labelled(
    sample: Sample, least: int = 2
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], tuple[str, ...]]:
    """The items of a sample that have a label.

    Returns:
        Unit vectors (n, dim) float64, class numbers (n,), and the names of the classes, sorted.

    Raises:
        InvalidRequestError: fewer than `least` classes are labelled.
    """
    if len(sample.labels) != len(sample.vectors):
        raise InvalidRequestError(
            f"expected a label for each of {len(sample.vectors)} items, got {len(sample.labels)}"
        )
    kept = np.flatnonzero([bool(label) for label in sample.labels])
    names, numbers = np.unique([sample.labels[row] for row in kept], return_inverse=True)
    if len(names) < least:
        raise InvalidRequestError(f"expected items of at least {least} labels, got {len(names)}")
    return unit(sample.vectors[kept]), numbers.astype(np.int64), tuple(map(str, names))
