"""Answers of retrievers and diagnostics as the records of the service."""

from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from kokeshi.service.retrieval import records
from kokeshi.v1 import retrieval_pb2 as rpb

R = TypeVar("R")


def diagnosed(told: rpb.DiagnoseResponse) -> records.Diagnosed:
    """Answer of Diagnose."""
    results = [
        records.Measured(
            each.diagnostic,
            dict(each.figures),
            {name: (ends.low, ends.high) for name, ends in each.intervals.items()},
            [
                records.Curve(
                    curve.title,
                    curve.x_label,
                    curve.y_label,
                    np.array(curve.x),
                    np.array(curve.y),
                    curve.kind,
                    tuple(curve.names),
                )
                for curve in each.curves
            ],
            # an older server tells no order
            {key: each.flagged[key] for key in each.flagged_order or each.flagged},
            tuple(each.advice),
            each.refused,
        )
        for each in told.results
    ]
    return records.Diagnosed(
        told.collection, told.space, told.count, told.of, told.sequence, results
    )


def transfer(told: rpb.Transfer) -> records.Transfer:
    """How far a migration or a rotation has come."""
    return record_of(records.Transfer, told, recall=None)


def record_of(record: type[R], told: Message, **missing: str | None) -> R:
    """A message as the record of the service that has the same fields; `_json` ones are read.

    `missing` stands in for what a message leaves out.
    """
    names = {field.name for field in fields(record)}  # type: ignore[arg-type]  # all are dataclasses
    given = {field.name for field, _ in told.ListFields()}
    found: dict[str, Any] = dict(missing)
    for field in told.DESCRIPTOR.fields:
        name = field.name.removesuffix("_json")
        if name in names and not (field.has_presence and field.name not in given):
            value = getattr(told, field.name)
            found[name] = orjson.loads(value) if name != field.name else _own(value)
    return record(**found)


def _own(value: Any) -> Any:  # noqa: ANN401 - a scalar, or a list of them
    return value if isinstance(value, str | int | float) else tuple(value)


def fields_of(told: Message) -> dict[str, Any]:
    """The fields of a message by name; those that are not set and may be are left out."""
    found: dict[str, Any] = MessageToDict(
        told, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found
