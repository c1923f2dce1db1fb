"""Masks: the class of every pixel at the image's own size, as PNG, run lengths or polygons."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi import metrics
from kokeshi.contract import Interpolation, Meaning, Output, Task
from kokeshi.errors import InvalidRequestError
from kokeshi.images import Geometry, encode_png_grey, encode_png_label_map, restore_map
from kokeshi.service.masks import polygons, run_lengths
from kokeshi.service.run import Row, Runner, together
from kokeshi.service.types import (
    Input,
    MaskFormat,
    ModelRef,
    Region,
    Segmentation,
    Segmented,
)

FOREGROUND_THRESHOLD: Final = 0.5
BACKGROUND: Final = ("background", "foreground")  # classes of a foreground model


async def segment(
    runner: Runner,
    model: str,
    inputs: Sequence[Input],
    *,
    version: int = 0,
    format: MaskFormat = MaskFormat.PNG,
    threshold: float | None = None,
    timeout_s: float | None = None,
) -> Segmented:
    """See `Service.segment`."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidRequestError(f"threshold is from 0 to 1, not {threshold}")
    card = runner.card_for(model, version, inputs)
    output = card.output_for(Task.SEGMENTATION)
    ran = await runner.run(card, inputs, [output.name], timeout_s)
    started_s = time.perf_counter()
    least = FOREGROUND_THRESHOLD if threshold is None else threshold
    read = partial(_segmentation, card.labels, output, format, least)
    results = await together(
        runner.encode(partial(read, row, values))
        for row, values in zip(ran.rows, ran.outputs[output.name], strict=True)
    )
    metrics.STAGE_SECONDS.labels("encode", card.name).observe(time.perf_counter() - started_s)
    return Segmented(ModelRef(card.name, card.version), results)


def _segmentation(
    labels: Sequence[str],
    output: Output,
    mask_format: MaskFormat,
    least: float,
    row: Row,
    values: NDArray[Any],
) -> Segmentation:
    whole = _at_own_size(values, row.geometry)
    png = mask_format is MaskFormat.PNG
    if output.meaning is Meaning.FOREGROUND:
        foreground = encode_png_grey(whole) if png else b""
        whole, names = (whole >= least).astype(np.uint8), labels or BACKGROUND
    else:
        foreground, names = b"", labels
    height, width = whole.shape
    return Segmentation(
        height,
        width,
        _regions(whole, names, mask_format),
        encode_png_label_map(whole) if png else b"",
        foreground,
    )


def _at_own_size(values: NDArray[Any], geometry: Geometry | None) -> NDArray[Any]:
    """A map at the original image's size; what a crop never saw is class 0."""
    if geometry is None:
        return values
    if values.dtype == np.float32:
        return restore_map(values, geometry, Interpolation.BILINEAR)
    return restore_map(values, geometry, Interpolation.NEAREST)


def _regions(
    label_map: NDArray[np.uint8], names: Sequence[str], mask_format: MaskFormat
) -> list[Region]:
    areas = np.bincount(label_map.ravel(), minlength=1)
    order = [int(index) for index in np.argsort(-areas, kind="stable") if areas[index]]
    return [_region(label_map, index, int(areas[index]), names, mask_format) for index in order]


def _region(
    label_map: NDArray[np.uint8],
    index: int,
    area: int,
    names: Sequence[str],
    mask_format: MaskFormat,
) -> Region:
    mask = label_map == index
    return Region(
        names[index] if index < len(names) else f"class {index}",
        index,
        area,
        area / mask.size,
        run_lengths(mask) if mask_format is MaskFormat.RLE else None,
        polygons(mask) if mask_format is MaskFormat.POLYGONS else None,
    )
