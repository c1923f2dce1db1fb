"""What `kokeshi search` prints of its answers."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from kokeshi.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from kokeshi.service.types import Found, Group, Hit

KEPT: Final = (
    "space",
    "dimension",
    "higher_is_better",
    "sequence",
    "exact",
    "proven_exact",
    "route",
    "recall_estimate",
)

OF_SOME: Final = frozenset({"group", "stands for"})  # columns that most searches have nothing for


def tell_found(
    asked: Sequence[str], answers: "Sequence[Found]", *, are_grouped: bool, as_json: bool
) -> None:
    """Prints the hits, or the groups, of each query.

    Args:
        asked: the queries in a person's words.
        answers: to all of them, in their order; how they were found is told of the first.
        are_grouped: groups were asked for.
        as_json: as JSON, not as a table.
    """
    first = answers[0]
    if as_json:
        told = [
            {"query": word, "groups" if are_grouped else "hits": found}
            for word, found in zip(asked, _results(answers, are_grouped=are_grouped), strict=True)
        ]
        print_json({**{name: getattr(first, name) for name in KEPT}, "results": told})
        return
    score = "score " if first.higher_is_better else "distance "
    rows = list(_rows(asked, answers, are_grouped=are_grouped))
    columns = ["query", "group", "rank ", "id", score, "label", "stands for"]
    if not rows:  # a table then has none to tell which columns hold nothing
        columns = [one for one in columns if one not in OF_SOME or (are_grouped and one == "group")]
    print_table(columns, rows)
    one = first.recall_estimate
    if one is not None and one.samples:
        note(
            f"recall of searches like this one: {one.value:.3f} "
            f"({one.low:.3f} to {one.high:.3f}, {one.samples} samples)"
        )


def _results(
    answers: "Sequence[Found]", *, are_grouped: bool
) -> "Iterator[Sequence[Hit] | Sequence[Group]]":
    for answer in answers:
        # without a single group an answer has empty results in their place
        yield from answer.groups if are_grouped and answer.groups else answer.results


def _rows(
    asked: Sequence[str], answers: "Sequence[Found]", *, are_grouped: bool
) -> Iterator[Sequence[object]]:
    for word, found in zip(asked, _results(answers, are_grouped=are_grouped), strict=True):
        named = word  # in the first of its rows alone
        for group, rank, hit in _in_order(found, are_grouped=are_grouped):
            yield (named, group, rank, *_cells(hit))
            named = ""


def _in_order(found: Sequence[Any], *, are_grouped: bool) -> "Iterator[tuple[object, int, Hit]]":
    """Hits with their ranks, in a group where there are groups."""
    if not are_grouped:
        yield from (("", rank, hit) for rank, hit in enumerate(found, 1))
        return
    for group in found:
        for rank, hit in enumerate(group.hits, 1):
            yield (_shown(group.value) if rank == 1 else "", rank, hit)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cells(hit: "Hit") -> tuple[object, ...]:
    return (hit.id, f"{hit.score:.4f}", hit.metadata.get("label", ""), " ".join(hit.collapsed_ids))
