"""From what the service says of retrievers to protobuf messages."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import orjson
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from kokeshi.service.retrieval.records import (
    Answered,
    Diagnosed,
    Fitted,
    MapInfo,
    Measured,
    PluginInfo,
    Transfer,
)
from kokeshi.service.retrieval.typed import Answer, Verified
from kokeshi.v1 import retrieval_pb2 as rpb

M = TypeVar("M", bound=Message)


def json_text(value: Mapping[str, Any]) -> str:
    """A JSON object as text."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()


def plugins(known: Sequence[PluginInfo]) -> rpb.ListRetrieversResponse:
    """What is installed."""
    return rpb.ListRetrieversResponse(
        retrievers=[_plugin(each) for each in known if each.kind == "retriever"],
        diagnostics=[_plugin(each) for each in known if each.kind == "diagnostic"],
    )


def _plugin(info: PluginInfo) -> rpb.RetrieverInfo:
    return rpb.RetrieverInfo(
        name=info.name,
        summary=info.summary,
        paper=info.paper,
        distribution=info.distribution,
        does=info.does,
        defaults_json=json_text(info.defaults),
    )


def fitted(info: Fitted) -> rpb.FittedRetriever:
    """A fitted model."""
    told = asdict(info)
    settings, figures = told.pop("settings"), told.pop("figures")
    return rpb.FittedRetriever(
        **told, settings_json=json_text(settings), figures_json=json_text(figures)
    )


def answered(answer: Answered) -> rpb.AskRetrieverResponse:
    """Answer of AskRetriever."""
    return rpb.AskRetrieverResponse(
        retriever=answer.retriever,
        answer_json=json_text(answer.answer),
        dimension=answer.dimension,
        neighbours=answer.neighbours,
        sequence=answer.sequence,
    )


def typed(answer: Answer, kind: type[M]) -> M:
    """An answer whose fields are those of its message; None is left out."""
    fields = answer.model_dump(exclude_none=True)
    return ParseDict(fields, kind(), ignore_unknown_fields=True)


def verified(answer: Verified) -> rpb.VerifyResponse:
    """Answer of Verify."""
    fields = answer.model_dump(exclude_none=True)
    fields["verdict"] = f"VERDICT_{answer.verdict.upper()}"
    return ParseDict(fields, rpb.VerifyResponse())


def diagnosed(answer: Diagnosed) -> rpb.DiagnoseResponse:
    """Answer of Diagnose."""
    return rpb.DiagnoseResponse(
        collection=answer.collection,
        space=answer.space,
        count=answer.count,
        of=answer.of,
        sequence=answer.sequence,
        results=[_measured(each) for each in answer.results],
    )


def _measured(result: Measured) -> rpb.DiagnosticResult:
    return rpb.DiagnosticResult(
        diagnostic=result.diagnostic,
        figures=result.figures,
        intervals={
            name: rpb.Interval(low=low, high=high) for name, (low, high) in result.intervals.items()
        },
        curves=[
            rpb.Curve(
                title=each.title,
                x_label=each.x_label,
                y_label=each.y_label,
                x=each.x.tolist(),
                y=each.y.tolist(),
                kind=each.kind,
                names=each.names,
            )
            for each in result.curves
        ],
        flagged=result.flagged,
        flagged_order=result.flagged_order,
        advice=result.advice,
        refused=result.refused,
    )


def space_map(info: MapInfo) -> rpb.SpaceMap:
    """Answer of FitMap."""
    told = asdict(info)
    model = told.pop("model")
    return rpb.SpaceMap(**told, model_json=json_text(model))


def transfer(info: Transfer) -> rpb.Transfer:
    """How far a transfer has come."""
    return rpb.Transfer(**asdict(info))
