"""How deep a search goes: as asked for, or chosen by what was measured."""

from dataclasses import replace
from typing import Protocol

from kokeshi import index
from kokeshi.errors import InvalidRequestError, UnimplementedError
from kokeshi.index.checks import MAX_SHORTLIST
from kokeshi.service.classify import check_k
from kokeshi.service.search_types import SearchMode, SearchOptions


class Chosen(Protocol):
    """How to search, as was chosen."""

    @property
    def params(self) -> index.SearchParams:
        """With its dials turned."""


class Dials(Protocol):
    """Chooses how to search by measured recall and time; see `kokeshi.index.recall.Measured`."""

    def choose(
        self,
        name: str,
        params: index.SearchParams,
        *,
        recall_target: float | None = None,
        budget_ms: float | None = None,
    ) -> Chosen:
        """The dials of a search of a collection; exactly one wish is given."""


def check_dials(asked: SearchOptions) -> None:
    """Refuses dials that cannot be turned together.

    Raises:
        InvalidRequestError: they exclude each other, or are out of range.
    """
    if asked.shortlist is not None and asked.mode is not SearchMode.TWO_STAGE:
        raise InvalidRequestError(
            f"a shortlist is of mode {SearchMode.TWO_STAGE}, not {asked.mode}"
        )
    check_k("shortlist", asked.shortlist, 1, MAX_SHORTLIST)
    if asked.recall_target is None and asked.budget_ms is None:
        return
    given = [name for name in ("shortlist", "breadth") if getattr(asked, name) is not None]
    given += ["mode"] if asked.mode is not SearchMode.AUTO else []
    if asked.recall_target is not None and asked.budget_ms is not None:
        raise InvalidRequestError("expected recall_target or budget_ms, got both")
    if given:
        chooser = "recall_target" if asked.recall_target is not None else "budget_ms"
        raise InvalidRequestError(f"{chooser} chooses {given[0]} itself: expected one of the two")
    if asked.recall_target is not None and not 0 < asked.recall_target <= 1:
        raise InvalidRequestError(
            f"recall_target is above 0 and at most 1, not {asked.recall_target}"
        )
    if asked.budget_ms is not None and not 0 < asked.budget_ms < float("inf"):
        raise InvalidRequestError(f"budget_ms is above 0, not {asked.budget_ms}")


def is_open(asked: SearchOptions) -> bool:
    """Whether a search leaves its shortlist to whoever knows, and wants k hits and no more."""
    is_deeper = bool(asked.group_by) or asked.collapse is not None
    is_chosen = asked.dimension is not None or asked.shortlist is not None
    return asked.mode is SearchMode.TWO_STAGE and not is_deeper and not is_chosen


def turned(
    dials: Dials | None,
    spec: index.CollectionSpec,
    asked: SearchOptions,
    params: index.SearchParams,
) -> index.SearchParams:
    """The parameters of a search with its dials turned as was asked for.

    Raises:
        UnimplementedError: a time was asked for where nothing is measured.
    """
    if asked.recall_target is None and asked.budget_ms is None:
        return replace(
            params,
            dimension=asked.dimension,
            rerank=asked.mode is SearchMode.TWO_STAGE,
            shortlist=asked.shortlist,
            exact=asked.mode is SearchMode.EXACT,
            breadth=asked.breadth,
        )
    if dials is None:
        if asked.recall_target is None:
            raise UnimplementedError("this server measures no searches, so it keeps no budget_ms")
        return replace(params, dimension=asked.dimension, exact=True)
    wish = replace(params, dimension=asked.dimension)
    return dials.choose(
        spec.name, wish, recall_target=asked.recall_target, budget_ms=asked.budget_ms
    ).params
